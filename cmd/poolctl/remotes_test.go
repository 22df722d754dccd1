package main

import (
	"strings"
	"testing"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/remotes"
)

// TestRemoteListPublic: simplestreams servers are public, as in lxc's list.
func TestRemoteListPublic(t *testing.T) {
	var b strings.Builder
	err := remoteList([]remotes.Remote{
		{Name: "a", URL: "https://a", Protocol: remotes.ProtocolSimplestreams}, {Name: localRemote, URL: "unix://", Protocol: "poolctl"},
	}, localRemote).Write(&b, output.CSV)
	want := "a,https://a,simplestreams,none,YES,NO,NO\nlocal (current),unix://,poolctl,file access,NO,YES,NO\n"
	if err != nil || b.String() != want {
		t.Errorf("%q, %v", b.String(), err)
	}
}
