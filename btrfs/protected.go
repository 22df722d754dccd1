package btrfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// protectingFlags are the flags of inodes with which not even root changes or deletes what has them, or what is in it: FS_IMMUTABLE_FL
// and FS_APPEND_FL of linux/fs.h (ioctl_iflags(2)).
const protectingFlags = 0x10 | 0x20

// Unprotect takes the flags of an open file or directory away that keep it from being changed, and says how they are given back;
// nil where it has none.
func Unprotect(f *os.File) (giveBack func() error, err error) {
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return nil, os.NewSyscallError("FS_IOC_GETFLAGS", err)
	}
	if flags&protectingFlags == 0 {
		return nil, nil
	}
	set := func(flags int) error {
		return os.NewSyscallError("FS_IOC_SETFLAGS", unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
	}
	if err := set(flags &^ protectingFlags); err != nil {
		return nil, err
	}
	return func() error { return set(flags) }, nil
}

// destroyProtected is destroyAt of a subvolume, nested in what is deleted as well, whose root or whose directory may be immutable
// or append-only.
func destroyProtected(dir *os.File, name string) error {
	err := destroyAt(dir, name)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	f, oerr := openSubvolumeAt(int(dir.Fd()), name)
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	_, rerr := setReadOnly(f, false) // else its root cannot be changed
	_, derr := Unprotect(dir)
	_, verr := Unprotect(f)
	if oerr = errors.Join(rerr, derr, verr, f.Close()); oerr != nil {
		return errors.Join(err, oerr)
	}
	return destroyAt(dir, name)
}
