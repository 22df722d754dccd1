package btrfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// State says whether the file system at path can be written.
type State struct {
	// ReadOnly says that the mount, or the file system, is read-only.
	ReadOnly bool
	// Failed says that the kernel has given the file system up after an error: it
	// is read-only until it is unmounted and mounted again.
	Failed bool
}

// GetState asks for the state of the file system mounted at path. Only one that
// the kernel has given up refuses a sync with EROFS (BTRFS_FS_ERROR in
// btrfs_start_delalloc_roots, fs/btrfs/inode.c); one that was mounted read-only
// has nothing to sync.
func GetState(path string) (State, error) {
	var st State
	err := withDir(path, func(f *os.File) error {
		var sf unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &sf); err != nil {
			return os.NewSyscallError("fstatfs", err)
		}
		st.ReadOnly = sf.Flags&unix.ST_RDONLY != 0
		if !st.ReadOnly {
			return nil // the kernel sets it in the moment that it gives up
		}
		err := ioctl[byte](int(f.Fd()), iocSync, nil)
		if st.Failed = errors.Is(err, unix.EROFS); st.Failed {
			return nil
		}
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("cannot ask for the state of %s: %w", path, err)
	}
	return st, nil
}

// Sum is how many errors there were in all.
func (s DevStats) Sum() uint64 {
	return s.WriteErrors + s.ReadErrors + s.FlushErrors + s.CorruptionErrors + s.GenerationErrors
}

// devStatsReset is BTRFS_DEV_STATS_RESET.
const devStatsReset = 1

// ResetDeviceStats sets the error counters of a device to zero, and returns what
// they were.
func ResetDeviceStats(path string, id uint64) (DevStats, error) {
	a := devStatsArgs{DevID: id, Flags: devStatsReset}
	a.Items = uint64(len(a.Values))
	err := withDir(path, func(f *os.File) error { return ioctl(int(f.Fd()), iocGetDevStats, &a) })
	if err != nil {
		return DevStats{}, fmt.Errorf("cannot reset the error counters of device %d at %s: %w", id, path, os.NewSyscallError("BTRFS_IOC_GET_DEV_STATS", err))
	}
	v := a.Values
	return DevStats{WriteErrors: v[0], ReadErrors: v[1], FlushErrors: v[2], CorruptionErrors: v[3], GenerationErrors: v[4]}, nil
}
