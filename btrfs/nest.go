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
	err = snapshotAt(from, parent, name, false)
	if errors.Is(err, fs.ErrExist) {
		if err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err == nil {
			err = snapshotAt(from, parent, name, false)
		}
	}
	return err
}
