package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRounds bounds how often DeleteTree starts again because something made
// more nested subvolumes while it deleted them.
const maxRounds = 5

// DeleteTree deletes the subvolume at path with all subvolumes nested in it,
// read-only, immutable or not, the deepest first. Nothing at path is no error, so that it
// can be called again after it failed. ErrNotSubvolume says that something else
// is there.
//
// It does not wait for the kernel's cleaner. When ctx ends it stops: some of
// the nested ones are gone then, so whoever needs all or nothing renames the
// subvolume away first.
func DeleteTree(ctx context.Context, path string) error {
	dir, name, err := openParent(path)
	if err == nil {
		err = errors.Join(deleteTreeAt(ctx, dir, name), dir.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot delete subvolume %s: %w", path, err)
	}
	return nil
}

// deleteTreeAt deletes the subvolume that is the entry name of dir. Most have
// none nested, so it is tried first; the kernel refuses (ENOTEMPTY) otherwise.
func deleteTreeAt(ctx context.Context, dir *os.File, name string) error {
	for range maxRounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := destroyAt(dir, name)
		if !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		f, err := openSubvolumeAt(int(dir.Fd()), name)
		if err != nil {
			return err
		}
		err = errors.Join(deleteNested(ctx, f), f.Close())
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("something keeps making subvolumes in it: %w", unix.ENOTEMPTY)
}

// deleteNested deletes everything nested in the open subvolume.
func deleteNested(ctx context.Context, f *os.File) error {
	id, err := rootID(f)
	if err != nil {
		return err
	}
	s := newSearcher(f)
	var nested []Subvolume
	readOnly := map[uint64]bool{id: true} // of f itself it is not known
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		nested = append(nested, sub)
		readOnly[sub.ID] = sub.ReadOnly
		return true, ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, sub := range slices.Backward(nested) {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Being read-only keeps nobody from deleting a subvolume, but from
		// deleting one nested in it.
		if readOnly[sub.ParentID] {
			if _, err := s.setReadOnly(sub.ParentID, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("nested subvolume %q: %w", sub.Name, err)
			}
			readOnly[sub.ParentID] = false
		}
		if err := s.deleteOne(sub); err != nil {
			return fmt.Errorf("nested subvolume %q: %w", sub.Name, err)
		}
	}
	return nil
}

// deleteOne deletes one nested subvolume, unless it is gone already or has new
// ones nested: the next round finds those.
func (s *searcher) deleteOne(sub Subvolume) error {
	dir, err := s.openInode(sub.ParentID, sub.DirID)
	if err == nil {
		err = errors.Join(destroyProtected(dir, sub.Name), dir.Close())
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, ErrNotSubvolume) {
		return nil
	}
	return err
}
