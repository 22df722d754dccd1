package btrfs

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// fiemapArgs is struct fiemap of linux/fiemap.h without room for extents: they are counted.
type fiemapArgs struct {
	Start, Length  uint64
	Flags          uint32
	MappedExtents  uint32
	ExtentCount, _ uint32
}

const (
	iocFiemap  = iocRead | iocWrite | 'f'<<8 | 11 | 32<<16 // FS_IOC_FIEMAP
	fiemapSync = 1                                         // FIEMAP_FLAG_SYNC
)

// WriteOut writes what is in memory of the file f, and waits until it has its extents: from then on each commit of the file system
// has the file whole, under whatever name. It does not wait for a commit, as fsync(2) does for one of its own, where the kernel
// can do without: from Linux 6.1 on, FIEMAP_FLAG_SYNC waits for the ordered extents (btrfs_fiemap in fs/btrfs/fiemap.c), which
// sync_file_range(2) does not.
func WriteOut(f *os.File) error {
	if !fiemapWaits() {
		return f.Sync()
	}
	args := fiemapArgs{Length: 1<<64 - 1, Flags: fiemapSync}
	if err := ioctl(int(f.Fd()), iocFiemap, &args); err != nil {
		return fmt.Errorf("cannot write %s out: %w", f.Name(), os.NewSyscallError("FS_IOC_FIEMAP", err))
	}
	return nil
}

// fiemapWaits says whether the kernel is Linux 6.1 or newer.
var fiemapWaits = sync.OnceValue(func() bool {
	var uts unix.Utsname
	var major, minor int
	if err := unix.Uname(&uts); err != nil {
		return false
	}
	n, _ := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor)
	return n == 2 && (major > 6 || major == 6 && minor >= 1)
})
