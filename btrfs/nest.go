package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// Nest makes a writable snapshot of the subvolume src at the relative path in
// the subvolume root. The directory that it goes into must be there; no symbolic
// link is followed and nothing outside of root is reached (openat2(2)). An empty
// directory that has its name already, as in a snapshot, is replaced.
func Nest(src, root, at string) error {
	if err := nest(src, root, at); err != nil {
		return fmt.Errorf("cannot nest a subvolume at %q in %s: %w", at, root, err)
	}
	return nil
}

func nest(src, root, at string) error {
	from, err := openSubvolume(src)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	top, err := openSubvolume(root)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	if path.Clean("/"+at) != "/"+at {
		return unix.EINVAL
	}
	dir, name := path.Split(at)
	fd, err := unix.Openat2(int(top.Fd()), path.Join(".", dir), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	parent := os.NewFile(uintptr(fd), dir)
	defer func() { _ = parent.Close() }()
	times, err := timesOf(parent)
	if err != nil {
		return err
	}
	err = snapshotAt(from, parent, name, false)
	if errors.Is(err, fs.ErrExist) {
		if err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err == nil {
			err = snapshotAt(from, parent, name, false)
		}
	}
	if err == nil {
		err = setTimes(parent, times)
	}
	return err
}

// SnapshotBare makes dst a read-only snapshot of the subvolume src, without the
// empty directories that a snapshot has in the place of nested subvolumes: a send
// stream knows nothing of them, and they would be in its way.
func SnapshotBare(src, dst string) error {
	if err := snapshotBare(src, dst); err != nil {
		return fmt.Errorf("cannot snapshot %s to %s: %w", src, dst, err)
	}
	return nil
}

func snapshotBare(src, dst string) (err error) {
	from, err := openSubvolume(src)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	id, err := rootID(from)
	if err != nil {
		return err
	}
	s := newSearcher(from)
	nested, err := s.children(id)
	if err != nil {
		return err
	}
	if err := Snapshot(src, dst, len(nested) == 0); err != nil || len(nested) == 0 {
		return err
	}
	to, err := openSubvolume(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	made, err := rootID(to)
	if err != nil {
		return err
	}
	for _, n := range nested {
		if err := s.dropPlaceholder(made, n); err != nil {
			return err
		}
	}
	_, err = setReadOnly(to, true)
	return err
}

// dropPlaceholder removes the empty directory that the subvolume root has in the
// place of one that is nested in its source; its directory keeps its times.
func (s *searcher) dropPlaceholder(root uint64, nested Subvolume) error {
	dir, err := s.openInode(root, nested.DirID)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	times, err := timesOf(dir)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(int(dir.Fd()), nested.Name, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	return setTimes(dir, times)
}
