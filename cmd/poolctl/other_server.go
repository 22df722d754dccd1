package main

import (
	"regexp"
	"sync"
)

var otherServer = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*:`) })

// isOnOtherServer says whether what is to be an instance, or its snapshot, is written HOST: or HOST:NAME, as lxc writes
// one of another server. In NAME/SNAPSHOT a colon is the snapshot's.
func isOnOtherServer(ref string) bool { return otherServer().MatchString(ref) }
