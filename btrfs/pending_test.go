package btrfs

import (
	"fmt"
	"testing"
)

func TestPending(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		t.Run(fmt.Sprint("mixed ", mixed), func(t *testing.T) {
			mnt := newFS(t)
			reserve := uint64(0)
			if mixed {
				mnt = mountImage(t, newImage(t, 200<<20, MkfsOptions{ExtraArgs: []string{"--mixed"}}))
				u, err := GetUsage(mnt)
				must(t, err)
				reserve = u.GlobalReserve
			}
			info, err := FSInfo(mnt)
			must(t, err)
			must(t, Sync(mnt))
			check := func(least, most uint64) {
				t.Helper()
				if u, err := Pending(info.UUID); err != nil || u.Data < reserve+least || u.Data > reserve+most {
					t.Errorf("pending: %+v, %v; want %d to %d", u, err, reserve+least, reserve+most)
				}
			}
			check(0, 0)
			write(t, mnt+"/file", string(make([]byte, 3<<20)))
			check(3<<20, 5<<20)
			must(t, Sync(mnt))
			check(0, 0)
		})
	}
	if _, err := Pending("../.."); err == nil {
		t.Error("a path was taken for a UUID")
	}
	if u, err := Pending("00000000-0000-0000-0000-000000000000"); err != nil || u != (Unwritten{}) {
		t.Errorf("not mounted: %+v, %v", u, err)
	}
}
