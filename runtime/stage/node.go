package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// NewNode makes a device node that nobody else has, in a file system of its own,
// and returns an unattached mount of it: it is gone when its last mount is. kind
// is S_IFCHR or S_IFBLK, perm the permissions, uid and gid the host's.
func NewNode(kind, perm, major, minor uint32, uid, gid int) (_ int, err error) {
	const name = "node"
	dir, err := newMount("tmpfs", "tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, option{"mode", "0755"}, option{"size", "4k"})
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(dir)) }() // the mount of the node holds the file system
	if err := unix.Mknodat(dir, name, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return -1, fmt.Errorf("cannot make a device node: %w", err)
	}
	if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, fmt.Errorf("cannot give a device node to %d:%d: %w", uid, gid, err)
	}
	if err := unix.Fchmodat(dir, name, perm, 0); err != nil { // whatever the umask is
		return -1, fmt.Errorf("cannot set the permissions of a device node: %w", err)
	}
	fd, err := cloneTree(dir, name)
	if err != nil {
		return -1, fmt.Errorf("cannot bind a device node: %w", err)
	}
	return fd, nil
}

// RemoveTarget removes what OpenTarget made to mount a file on, in the working
// directory: an empty file. Anything else is left alone.
func RemoveTarget(name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(unix.AT_FDCWD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		err = unix.Unlinkat(unix.AT_FDCWD, name, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove the empty file %s: %w", name, err)
	}
	return nil
}
