package pool

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// TrimResult is what trimming a pool has given back.
type TrimResult struct {
	// Trimmed is how many bytes the pool's file system told its device to be free;
	// those that were so before are among them.
	Trimmed uint64 `json:"trimmed" yaml:"trimmed"`
	// Before and After are the bytes of the host that the pool's file took; 0 for
	// a pool that is no file.
	Before int64 `json:"before" yaml:"before"`
	After  int64 `json:"after" yaml:"after"`
}

// TrimPool gives the free blocks of a pool back to the host: the kernel punches
// holes into its file, or tells its device. It waits first for subvolumes that
// were deleted to be freed. A pool that is detached is attached.
func (s *System) TrimPool(ctx context.Context, name string) (TrimResult, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return TrimResult{}, err
	}
	defer func() { _ = p.close() }()
	out, err := s.trim(ctx, p.rec)
	if err != nil {
		return out, fmt.Errorf("cannot trim pool %s: %w", name, err)
	}
	return out, nil
}

func (s *System) trim(ctx context.Context, rec state.PoolRecord) (TrimResult, error) {
	if isTrue(rec.Config["reserve"]) {
		return TrimResult{}, withHint(errors.New("the space of its file is reserved, and trimming would give it up"), "poolctl pool set %s reserve=false", rec.Name)
	}
	if err := s.refuseStrangers(rec); err != nil {
		return TrimResult{}, err
	}
	mp := s.dir.MountPoint(rec.Name)
	out := TrimResult{Before: allocatedOnHost(rec)}
	err := btrfs.WaitDeleted(ctx, mp)
	if err == nil {
		out.Trimmed, err = btrfs.Trim(ctx, mp)
	}
	if errors.Is(err, btrfs.ErrNoDiscard) {
		what := "the file system that its file is on cannot give blocks of a file back"
		if rec.Kind != state.PoolFile {
			what = "its device cannot give blocks back"
		}
		return out, withHint(err, "%s", what)
	}
	out.After = allocatedOnHost(rec)
	return out, err
}

// allocatedOnHost is how many bytes of the host a pool's file takes; 0 for a pool
// that is no file.
func allocatedOnHost(rec state.PoolRecord) int64 {
	var st unix.Stat_t
	if rec.Kind != state.PoolFile || unix.Stat(rec.Source, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}
