package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// NewNode makes a device node that nobody else has, in a file system of its own,
// and attaches a mount of it at a name in an open directory: it is gone when its
// last mount is. kind is S_IFCHR or S_IFBLK, perm the permissions, uid and gid the
// host's. The file system is attached beside it, at the name with ".d": before
// Linux 6.15 nothing can be bound that is in an unattached one (open_tree(2)).
func NewNode(holder int, at string, kind, perm, major, minor uint32, uid, gid int) (err error) {
	const name = "node"
	dir, err := newMount("tmpfs", "tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, option{"mode", "0755"}, option{"size", "4k"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(dir)) }() // attached, it stays without
	if err := attachAt(dir, holder, at+".d", true); err != nil {
		return err
	}
	if err := unix.Mknodat(dir, name, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("cannot make a device node: %w", err)
	}
	if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot give a device node to %d:%d: %w", uid, gid, err)
	}
	if err := unix.Fchmodat(dir, name, perm, 0); err != nil { // whatever the umask is
		return fmt.Errorf("cannot set the permissions of a device node: %w", err)
	}
	node, err := cloneTree(dir, name)
	if err != nil {
		return fmt.Errorf("cannot bind a device node: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(node)) }() // attached, it stays without
	return attachAt(node, holder, at, false)
}

// attachAt makes what is mounted upon, and attaches a mount there.
func attachAt(mount, dir int, name string, directory bool) error {
	if err := MakeTarget(dir, name, directory); err != nil {
		return err
	}
	if err := unix.MoveMount(mount, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot attach the mount of a device node: %w", err)
	}
	return nil
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
