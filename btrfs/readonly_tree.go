package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// SetReadOnlyTree makes the subvolume at path and all nested in it read-only,
// the deepest first, or writable, the outermost first. When it fails, or ctx
// ends, those that it changed are set back.
func SetReadOnlyTree(ctx context.Context, path string, ro bool) error {
	if err := setReadOnlyTree(ctx, path, ro); err != nil {
		return fmt.Errorf("cannot make %s and what is nested in it %s: %w", path, modeName(ro), err)
	}
	return nil
}

func setReadOnlyTree(ctx context.Context, path string, ro bool) (err error) {
	f, err := openSubvolume(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	id, err := rootID(f)
	if err != nil {
		return err
	}
	s := newSearcher(f)
	ids := []uint64{id}
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		ids = append(ids, sub.ID)
		return true, ctx.Err()
	})
	if err != nil {
		return err
	}
	if ro {
		slices.Reverse(ids)
	}
	var changed []uint64
	defer func() {
		if err == nil {
			return
		}
		for _, id := range slices.Backward(changed) {
			if _, undoErr := s.setReadOnly(id, !ro); undoErr != nil && !errors.Is(undoErr, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("cannot set subvolume %d back: %w", id, undoErr))
			}
		}
	}()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		did, err := s.setReadOnly(id, ro)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			return err
		}
		if did {
			changed = append(changed, id)
		}
	}
	return nil
}

// setReadOnly sets the flag of the subvolume of that id, and says whether it
// was not so already. One that is not there returns unix.ENOENT.
func (s *searcher) setReadOnly(id uint64, ro bool) (changed bool, err error) {
	f, err := s.openRoot(id)
	if err != nil {
		return false, err
	}
	changed, err = setReadOnly(f, ro)
	return changed, errors.Join(err, f.Close())
}
