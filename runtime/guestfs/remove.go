package guestfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Remove removes a file, a symbolic link itself, or an empty directory.
func (r *Root) Remove(path string) error { return r.remove(path, false) }

// RemoveAll removes what is at a path with all that is below it. Symbolic links
// are not followed, and what is mounted there is not touched: that is an error.
func (r *Root) RemoveAll(path string) error { return r.remove(path, true) }

func (r *Root) remove(path string, all bool) error {
	return pathError("delete", path, r.as(func() error {
		p, err := r.resolve(path, false)
		if err != nil {
			return err
		}
		defer p.close()
		switch {
		case p.st == nil:
			return fs.ErrNotExist
		case p.st.Mode&unix.S_IFMT != unix.S_IFDIR:
			return unix.Unlinkat(p.parent, p.name, 0)
		case !all:
			return unix.Unlinkat(p.parent, p.name, unix.AT_REMOVEDIR)
		}
		return removeTree(p.parent, p.name)
	}))
}

// deepest is how many directories removeTree holds open at a time.
const deepest = 128

// again is how often a directory is emptied anew that the guest fills meanwhile,
// or that too deep ones were moved to: each round takes deepest levels off.
const again = 10000

// removeTree removes a directory and what is in it, by descriptors: what the
// guest puts in place of a directory meanwhile is not followed. One that lies too
// deep is moved up to the top first.
func removeTree(parent int, name string) error {
	for range again {
		err := removeLevel(parent, name, -1, 0)
		if err == nil {
			err = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
		}
		if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return ignoreMissing(err)
		}
	}
	return unix.ENOTEMPTY
}

// removeLevel empties a directory; top is the directory that all of it is below,
// -1 at the top itself.
func removeLevel(parent int, name string, top, depth int) error {
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("something is mounted at %s in it", name)
	}
	if err != nil {
		return ignoreMissing(err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer func() { _ = dir.Close() }() // only read
	if top < 0 {
		top = fd
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := unix.Unlinkat(fd, e.Name(), 0)
		switch {
		case errors.Is(err, unix.EISDIR) && depth >= deepest:
			err = unix.Renameat(fd, e.Name(), top, tempName())
		case errors.Is(err, unix.EISDIR):
			if err = removeLevel(fd, e.Name(), top, depth+1); err == nil {
				err = unix.Unlinkat(fd, e.Name(), unix.AT_REMOVEDIR)
			}
		}
		if err = ignoreMissing(err); err != nil {
			return err
		}
	}
	return nil
}
