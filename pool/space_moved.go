package pool

import (
	"context"
	"errors"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// needMoved is the guard before block groups are moved within a pool: a pool's
// file grows by what is moved into its holes, whatever is free in the pool, and a
// host that is full makes the kernel give up the pool's file system. Where the
// host has too little, what the pool has free is given back to it first.
func (s *System) needMoved(ctx context.Context, rec state.PoolRecord, what string, measure func(mountPoint string) (uint64, error)) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	moved, err := measure(s.dir.MountPoint(rec.Name))
	if err != nil {
		return err
	}
	need := spaceNeed{what: what, moved: int64(moved)}
	plan, err := s.planSpace(ctx, rec, need)
	if err != nil || plan.Problem == "" {
		return err
	}
	if !isTrue(rec.Config["reserve"]) {
		if _, err := s.trim(ctx, rec); err != nil && !errors.Is(err, btrfs.ErrNoDiscard) {
			return err
		}
	}
	return s.needSpace(ctx, rec, need)
}

// needShrink is needMoved for a pool that is shrunk to a size.
func (s *System) needShrink(ctx context.Context, rec state.PoolRecord, size uint64) error {
	return s.needMoved(ctx, rec, "shrinking it", func(mp string) (uint64, error) { return btrfs.MovedByShrink(mp, size) })
}
