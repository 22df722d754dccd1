package btrfs

import "testing"

func TestPending(t *testing.T) {
	mnt := newFS(t)
	info, err := FSInfo(mnt)
	must(t, err)
	must(t, Sync(mnt))
	check := func(least, most uint64) {
		t.Helper()
		if n, err := Pending(info.UUID); err != nil || n < least || n > most {
			t.Errorf("pending: %d, %v; want %d to %d", n, err, least, most)
		}
	}
	check(0, 0)
	write(t, mnt+"/file", string(make([]byte, 3<<20)))
	check(3<<20, 4<<20)
	must(t, Sync(mnt))
	check(0, 0)
	if _, err := Pending("../.."); err == nil {
		t.Error("a path was taken for a UUID")
	}
	if n, err := Pending("00000000-0000-0000-0000-000000000000"); err != nil || n != 0 {
		t.Errorf("not mounted: %d, %v", n, err)
	}
}
