package tree

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Clear deletes the directories of Layout with everything in them: what a pool has in a subvolume that stays. What else
// is in the subvolume's root stays too; left names it. Called again after a failure it goes on.
func (t *Tree) Clear(ctx context.Context) (left []string, err error) {
	for _, d := range layout() {
		if filepath.Dir(d.name) != "." {
			continue // within another
		}
		if err := discard(ctx, filepath.Join(t.mnt, d.name)); err != nil {
			return nil, fmt.Errorf("cannot clear the pool: %w", err)
		}
	}
	names, err := os.ReadDir(t.mnt)
	if err != nil {
		return nil, fmt.Errorf("cannot clear the pool: %w", err)
	}
	for _, n := range names {
		left = append(left, n.Name())
	}
	slices.Sort(left)
	return left, nil
}
