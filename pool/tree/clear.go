package tree

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// Clear deletes what a pool has in a subvolume that stays: instances, custom volumes and images with their snapshots, what is
// below dirOwn, and the directories of Layout in which nothing is left. What else is in there, or beside them, stays: virtual
// machines too, which are LXD's or Incus's. left names it, by paths in the pool. Called again after a failure it goes on.
func (t *Tree) Clear(ctx context.Context) (left []string, err error) {
	err = t.eachEntry(func(path string, whose belonging) error {
		if whose == others || filepath.Dir(path) == dirMachines || filepath.Dir(filepath.Dir(path)) == dirMachineSnapshots {
			left = append(left, path)
			return ctx.Err()
		}
		return discard(ctx, filepath.Join(t.mnt, path))
	})
	if err == nil {
		err = t.removeEmptyLayout()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot clear the pool: %w", err)
	}
	slices.Sort(left)
	return left, nil
}

// removeEmptyLayout removes the directories of the layout in which nothing is, and of snapshots.
func (t *Tree) removeEmptyLayout() error {
	var dirs []string
	for _, d := range []string{dirSnapshots, dirCustomSnapshots, dirMachineSnapshots} {
		owners, err := t.namesIn(d)
		if err != nil {
			return err
		}
		for _, o := range owners {
			if plain, err := t.isPlain(filepath.Join(d, o)); err != nil {
				return err
			} else if plain {
				dirs = append(dirs, filepath.Join(d, o))
			}
		}
	}
	for _, d := range layout() {
		if filepath.Dir(d.name) == "." && d.name != dirOwn {
			dirs = append(dirs, d.name)
		}
	}
	for _, d := range dirs {
		is, err := isDirectory(filepath.Join(t.mnt, d))
		if err == nil && is {
			err = removeIfEmpty(filepath.Join(t.mnt, d))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
