package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// ownerOf is the user that a process runs as, seen from here.
func ownerOf(t *testing.T, pid int) uint32 {
	t.Helper()
	st, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner in a stat of /proc")
	}
	return sys.Uid
}

// aliasEnding finds an alias in an image list in JSON.
func aliasEnding(t *testing.T, list, suffix string) string {
	t.Helper()
	var images []struct{ Aliases []struct{ Name string } }
	if err := json.Unmarshal([]byte(list), &images); err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		for _, a := range im.Aliases {
			if strings.HasSuffix(a.Name, suffix) {
				return a.Name
			}
		}
	}
	t.Fatalf("no alias ends in %s:\n%s", suffix, list)
	return ""
}
