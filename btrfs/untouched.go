package btrfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenUntouched mounts the file system on a block device so that not one byte of
// it is written, and opens its root directory. The mount is nowhere: it lasts
// for as long as the file is open, or what was cloned of it (open_tree(2)) is
// mounted. Neither devices nor set-id programs work through it.
//
// "ro" alone is not enough: btrfs replays the log of a file system that was not
// unmounted also then, or fails where the device is read-only
// (rescue=nologreplay, Linux 5.9; btrfs(5)). What only the log has
// (Super.LogRoot) is not seen.
func OpenUntouched(device string) (*os.File, error) {
	root, err := openUntouched(device)
	if err != nil {
		return nil, fmt.Errorf("cannot mount %s read-only: %w", device, err)
	}
	return root, nil
}

func openUntouched(device string) (_ *os.File, err error) {
	fs, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fs)) }()
	if err := errors.Join(
		unix.FsconfigSetString(fs, "source", device), unix.FsconfigSetFlag(fs, "ro"), unix.FsconfigSetString(fs, "rescue", "nologreplay"),
	); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, os.NewSyscallError("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, os.NewSyscallError("fsmount", err)
	}
	return os.NewFile(uintptr(fd), device), nil
}
