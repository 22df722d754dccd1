package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// option is one parameter of a filesystem (man fsconfig); a flag when it has no
// value.
type option struct{ key, value string }

// newMount makes a detached mount and returns its descriptor.
func newMount(fstype, source string, attrs int, options ...option) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("cannot open filesystem %s: %w", fstype, err)
	}
	defer func() { _ = unix.Close(fs) }() // configuration only
	for _, o := range append([]option{{"source", source}}, options...) {
		if o.value == "" {
			err = unix.FsconfigSetFlag(fs, o.key)
		} else {
			err = unix.FsconfigSetString(fs, o.key, o.value)
		}
		if err != nil {
			return -1, fmt.Errorf("cannot set %s=%s of %s: %w", o.key, o.value, fstype, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("cannot make filesystem %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("cannot mount %s: %w", fstype, err)
	}
	return fd, nil
}

// cloneTree makes a detached bind mount of a path, or of fd itself when path is
// empty. The mount's own flags are those of what it is made from.
func cloneTree(fd int, path string) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_NO_AUTOMOUNT | unix.AT_SYMLINK_NOFOLLOW)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(fd, path, flags)
}

// openBeneath opens a path below dir without following any symbolic link.
func openBeneath(dir int, path string, flags uint64) (int, error) {
	return unix.Openat2(dir, path, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// target opens what is to be mounted upon: a directory below the (new) root,
// made when missing. A symbolic link anywhere in it is refused.
func target(path string) (int, error) {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the root: %w", err)
	}
	defer func() { _ = unix.Close(root) }() // a path only
	rel := strings.TrimPrefix(path, "/")
	fd, err := openBeneath(root, rel, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		parent := root
		if dir := filepath.Dir(rel); dir != "." {
			if parent, err = openBeneath(root, dir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
				return -1, fmt.Errorf("cannot open /%s: %w", dir, err)
			}
			defer func() { _ = unix.Close(parent) }() // a path only
		}
		if err := unix.Mkdirat(parent, filepath.Base(rel), 0o755); err != nil {
			return -1, fmt.Errorf("cannot make %s in the image: %w", path, err)
		}
		fd, err = openBeneath(root, rel, unix.O_PATH|unix.O_DIRECTORY)
	}
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return -1, fmt.Errorf("cannot mount on %s: it is not a directory in the image", path)
	case err != nil:
		return -1, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return fd, nil
}

// attach moves a detached mount to a directory and closes its descriptor.
func attach(mount int, path string) error {
	defer func() { _ = unix.Close(mount) }() // attached, it stays without
	to, err := target(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(to) }() // a path only
	return move(mount, to, path)
}

func move(mount, to int, path string) error {
	if err := unix.MoveMount(mount, "", to, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot attach %s: %w", path, err)
	}
	return nil
}

// bindFD attaches a bind mount of an open file to a new, empty file in dir.
func bindFD(fd int, dir, name string) error {
	mount, err := cloneTree(fd, "")
	if err != nil {
		return fmt.Errorf("cannot bind %s/%s: %w", dir, name, err)
	}
	return attachFile(mount, dir, name)
}

// attachFile moves the detached bind mount of a file to a new, empty file.
func attachFile(mount int, dir, name string) error {
	defer func() { _ = unix.Close(mount) }() // attached, it stays without
	parent, err := target(dir)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }() // a path only
	path := filepath.Join(dir, name)
	file, err := unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", path, err)
	}
	defer func() { _ = unix.Close(file) }() // empty
	return move(mount, file, path)
}

// readOnly makes a mount read-only, and what is mounted below it too.
func readOnly(fd int, path string, flags uint) error {
	err := unix.MountSetattr(fd, path, flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return fmt.Errorf("cannot make %s read-only: %w", path, err)
	}
	return nil
}

// exists reports whether a path is there; anything but its absence is true.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
