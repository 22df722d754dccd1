package btrfs

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestWriteOut: what was written has its extents, and nothing was committed.
func TestWriteOut(t *testing.T) {
	mnt := newFS(t)
	must(t, Sync(mnt))
	for _, compression := range []string{"", "zstd"} {
		f, err := os.Create(mnt + "/file" + compression)
		must(t, err)
		if compression != "" {
			must(t, unix.Fsetxattr(int(f.Fd()), "btrfs.compression", []byte(compression), 0))
		}
		_, err = f.Write(make([]byte, 1<<20))
		must(t, err)
		if !delayed(t, f) {
			t.Fatal("it has its extents before it is written out")
		}
		before := committed(t, mnt)
		must(t, WriteOut(f))
		if delayed(t, f) {
			t.Error("it has no extents yet")
		}
		if got := committed(t, mnt); got != before {
			t.Errorf("generation %d was committed", got)
		}
		must(t, f.Close())
		if err := WriteOut(f); err == nil {
			t.Error("a closed file was written out")
		}
	}
}

// delayed says whether a part of a file has no place on the disk yet (FIEMAP_EXTENT_DELALLOC).
func delayed(t *testing.T, f *os.File) bool {
	t.Helper()
	var m struct {
		args    fiemapArgs
		extents [16]struct {
			_     [5]uint64
			flags uint32
			_     [3]uint32
		}
	}
	m.args.Length, m.args.ExtentCount = 1<<62, uint32(len(m.extents))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), iocFiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
		t.Fatal(errno)
	}
	for _, e := range m.extents[:m.args.MappedExtents] {
		if e.flags&4 != 0 {
			return true
		}
	}
	return m.args.MappedExtents == 0
}
