package tree

import (
	"context"

	"poolctl/btrfs"
)

// limitStaged limits a volume that was made as a snapshot of another one and is on its way to its place. With full qgroups
// the kernel gave it the limit of that one; with size 0 it is to have none. keep is that of KeepLimit.
func (t *Tree) limitStaged(ctx context.Context, staged string, size int64, keep bool) error {
	if size > 0 {
		_, err := t.limit(ctx, staged, size, keep)
		return err
	}
	inherited, err := limitsOf(staged)
	if err != nil || len(inherited) == 0 {
		return err
	}
	return limitQgroups(staged, inherited, func(btrfs.Qgroup) uint64 { return btrfs.NoLimit })
}
