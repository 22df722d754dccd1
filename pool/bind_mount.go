package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountTarget checks the directory that something is to be mounted at.
func mountTarget(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", fmt.Errorf("%s: %w", dir, statError(err))
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, statError(err))
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	mounted, err := isMountPoint(abs)
	if err != nil {
		return "", err
	}
	if mounted {
		return "", withHint(fmt.Errorf("something is mounted at %s already", abs), "choose another directory")
	}
	return abs, nil
}

// mountTarget is the function of that name for a directory that the user names, and refuses
// what is in the state directory, or would hide it: each command would take what is mounted
// there for its own.
func (s *System) mountTarget(dir string) (string, error) {
	named, err := mountedAt(dir)
	if err != nil {
		return "", err
	}
	for _, own := range []string{s.dir.Root, s.dir.Run()} {
		if isWithin(own, named) {
			return "", withHint(fmt.Errorf("at %s it would hide the state directory %s", named, own), "choose another directory")
		}
		if isWithin(named, own) { // also what is not there: the sweep of looks may have removed it just now
			return "", withHint(fmt.Errorf("%s is in the state directory %s", named, own), "choose another directory")
		}
	}
	return mountTarget(dir)
}

// isWithin says whether a path is a directory or below it, by whatever names and mounts the
// directory is reached: a mount at one of them may be seen at the others.
func isWithin(path, dir string) bool {
	want, err := os.Stat(dir)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		if fi, err := os.Stat(path); err == nil && os.SameFile(fi, want) {
			return true
		}
		if path == filepath.Dir(path) {
			return false
		}
	}
}

// bindMount shows src at dst with the mount attributes given, in one step: the
// new mount is never there without them (open_tree(2), mount_setattr(2),
// move_mount(2)).
func bindMount(src, dst string, attrs uint64) error {
	place, err := openPlace(src)
	if err != nil {
		return err
	}
	defer func() { _ = place.Close() }() // a path only
	tree, err := cloneMount(place, unix.MountAttr{Attr_set: attrs})
	if err != nil {
		return err
	}
	defer func() { _ = tree.Close() }() // the mount stays
	return attachMount(tree, dst)
}

// openPlace opens a directory as a path only.
func openPlace(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// cloneMount makes a mount of what is at place, with the attributes given, that
// is nowhere yet: it ends with the file, unless attachMount puts it somewhere.
func cloneMount(place *os.File, attr unix.MountAttr) (*os.File, error) {
	fd, err := unix.OpenTree(int(place.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	tree := os.NewFile(uintptr(fd), place.Name())
	if attr != (unix.MountAttr{}) {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", place.Name(), err), tree.Close())
		}
	}
	return tree, nil
}

// attachMount puts what cloneMount made at dst.
func attachMount(tree *os.File, dst string) error {
	return unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, dst, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// isMountPoint says whether something is mounted exactly at dir.
func isMountPoint(dir string) (bool, error) {
	m, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	return len(m) > 0, err
}
