package btrfs

import (
	"encoding/binary"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestStartSync: what was written is committed soon, and not after the half minute that
// the kernel waits by itself.
func TestStartSync(t *testing.T) {
	mnt := newFS(t)
	must(t, Sync(mnt))
	before := committed(t, mnt)
	write(t, mnt+"/file", "x")
	if got := committed(t, mnt); got != before {
		t.Fatalf("generation %d after %d before anything was to be committed", got, before)
	}
	must(t, StartSync(mnt))
	for end := time.Now().Add(15 * time.Second); committed(t, mnt) == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was committed")
		}
	}
	if err := StartSync(mnt + "/missing"); err == nil {
		t.Error("a file system that is not there")
	}
}

// committed is the generation in the superblock (btrfs_super_block of
// linux/btrfs_tree.h, at 64 KiB), read past the page cache.
func committed(t *testing.T, mnt string) uint64 {
	t.Helper()
	info, err := FSInfo(mnt)
	must(t, err)
	f, err := os.OpenFile(info.Devices[0].Path, os.O_RDONLY|unix.O_DIRECT, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, 3*4096) // enough for one whole page
	b = b[-int(uintptr(unsafe.Pointer(&b[0])))&4095:]
	_, err = f.ReadAt(b[:4096], 64<<10)
	must(t, err)
	return binary.LittleEndian.Uint64(b[72:])
}
