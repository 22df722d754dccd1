package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// CompactOptions are the arguments of CompactPool.
type CompactOptions struct {
	// Shrink makes the pool smaller as well: to Size, or with "" to what is used
	// and a quarter more.
	Shrink   bool
	Size     string
	Progress func(Progress)
}

// CompactResult is what compacting a pool has changed, in bytes.
type CompactResult struct {
	// SizeBefore and SizeAfter are the pool's size.
	SizeBefore int64 `json:"size_before" yaml:"size_before"`
	SizeAfter  int64 `json:"size_after" yaml:"size_after"`
	// AllocatedBefore and AllocatedAfter are what its file takes of the host.
	AllocatedBefore int64 `json:"allocated_before" yaml:"allocated_before"`
	AllocatedAfter  int64 `json:"allocated_after" yaml:"allocated_after"`
	// UnallocatedBefore and UnallocatedAfter are what no block group has of the pool.
	UnallocatedBefore uint64 `json:"unallocated_before" yaml:"unallocated_before"`
	UnallocatedAfter  uint64 `json:"unallocated_after" yaml:"unallocated_after"`
}

// Usages up to which CompactPool rewrites block groups.
const (
	compactData     = 80
	compactMetadata = 50
)

// CompactPool packs what is in a pool together, makes the pool smaller if asked
// to, and gives its free blocks back to the host: balance, resize, trim.
// A step that fails, or the end of ctx, leaves what the ones before have done;
// a pool that cannot be made smaller is trimmed all the same.
func (s *System) CompactPool(ctx context.Context, name string, o CompactOptions) (CompactResult, error) {
	var out CompactResult
	before, err := s.measure(ctx, name)
	if err != nil {
		return out, err
	}
	// A balance that finds no room anywhere is no reason not to trim.
	_, err = s.BalancePool(ctx, name, BalanceOptions{DataUsage: compactData, MetadataUsage: compactMetadata}, o.Progress)
	if errors.Is(err, btrfs.ErrNoRoom) {
		s.noticef("pool %s has too little room to be packed more densely", name)
	} else if err != nil {
		return out, err
	}
	err = nil
	if o.Shrink {
		err = s.shrinkCompact(ctx, name, o)
	}
	if ctx.Err() == nil { // what a shrink that failed has moved left free blocks, too
		err = errors.Join(err, s.trimCompact(ctx, name))
	}
	if err != nil {
		return out, err
	}
	after, err := s.measure(ctx, name)
	return CompactResult{
		SizeBefore: before.size, SizeAfter: after.size, AllocatedBefore: before.allocated, AllocatedAfter: after.allocated,
		UnallocatedBefore: before.unallocated, UnallocatedAfter: after.unallocated,
	}, err
}

// trimCompact trims what can be trimmed: reserved space stays reserved.
func (s *System) trimCompact(ctx context.Context, name string) error {
	rec, err := s.loadPool(name)
	if err != nil || isTrue(rec.Config["reserve"]) {
		return err
	}
	_, err = s.TrimPool(ctx, name)
	if errors.Is(err, btrfs.ErrNoDiscard) {
		s.notice(err.Error())
		return nil
	}
	return err
}

// shrinkCompact shrinks a pool; one that is small already stays as it is, unless
// a size was asked for.
func (s *System) shrinkCompact(ctx context.Context, name string, o CompactOptions) error {
	if o.Size != "" {
		return s.ResizePool(ctx, name, o.Size, o.Progress)
	}
	p, err := s.openPool(ctx, name)
	if err != nil {
		return err
	}
	least, size, err := s.roomySize(p.rec)
	if err = errors.Join(err, p.close()); err != nil || least >= size {
		return err
	}
	return s.resizePool(ctx, name, fmt.Sprintf("%dB", least), true, o.Progress)
}

// roomySize is what a pool is shrunk to when no size was given, what it uses and
// a quarter more, in whole MiB and never less than is safe; and its size now.
func (s *System) roomySize(rec state.PoolRecord) (want, size int64, err error) {
	mp := s.dir.MountPoint(rec.Name)
	least, err := btrfs.MinimumSize(mp)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot shrink pool %s: %w", rec.Name, err)
	}
	u, err := btrfs.GetUsage(mp)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot shrink pool %s: %w", rec.Name, err)
	}
	return int64(max(least, u.Used+u.Used/4)+1<<20-1) &^ (1<<20 - 1), int64(u.Size), nil
}

type poolMeasure struct {
	size, allocated int64
	unallocated     uint64
}

// measure attaches a pool if need be, and measures it.
func (s *System) measure(ctx context.Context, name string) (poolMeasure, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return poolMeasure{}, err
	}
	u, err := btrfs.GetUsage(s.dir.MountPoint(name))
	return poolMeasure{int64(u.Size), allocatedOnHost(p.rec), u.Unallocated}, errors.Join(err, p.close())
}
