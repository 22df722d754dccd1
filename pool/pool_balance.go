package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// BalanceOptions say which block groups BalancePool rewrites.
type BalanceOptions struct {
	// DataUsage and MetadataUsage are percent: block groups of which less is used
	// are rewritten. 100 takes all, below 0 none.
	DataUsage, MetadataUsage int
}

// Balance usages for BalancePool that rewrite what is worth it: sparsely used
// data, and of the metadata, of which btrfs needs room to spare, only what is
// nearly empty.
const (
	DefaultDataUsage     = 50
	DefaultMetadataUsage = 20
)

// BalanceStatus is the balance of a pool, as `pool balance --status` shows it.
type BalanceStatus struct {
	Pool                  string `json:"pool" yaml:"pool"`
	Status                string `json:"status" yaml:"status"` // running, paused, none
	btrfs.BalanceProgress `yaml:",inline"`
}

// balancePoll is how often a balance is asked how far it is.
const balancePoll = 500 * time.Millisecond

// BalancePool rewrites block groups of a pool so that those which are used
// sparsely become few: what the others held is unallocated then, and can become
// data or metadata as needed. It can be paused and cancelled by other commands
// (PauseBalance, CancelBalance). A pool in a file may grow on the host meanwhile:
// it is refused where that has too little room, and cancelled when the room runs out
// meanwhile. When ctx ends the balance is cancelled: what was rewritten so far stays so.
func (s *System) BalancePool(ctx context.Context, name string, o BalanceOptions, progress func(Progress)) (BalanceStatus, error) {
	if o.DataUsage > 100 || o.MetadataUsage > 100 {
		return BalanceStatus{}, fmt.Errorf("cannot balance pool %s: a usage is at most 100 percent", name)
	}
	b := btrfs.Balance{DataUsage: o.DataUsage, MetadataUsage: o.MetadataUsage}
	return s.runBalance(ctx, name, progress, balanceRun{
		moved: func(mp string) (uint64, error) { return btrfs.MovedByBalance(mp, b) },
		run: func(ctx context.Context, mp string) (btrfs.BalanceProgress, error) {
			return btrfs.StartBalance(ctx, mp, b)
		},
	})
}

// ResumeBalance goes on with a balance that was paused, or that a power cut
// interrupted, until it ends; otherwise as BalancePool.
func (s *System) ResumeBalance(ctx context.Context, name string, progress func(Progress)) (BalanceStatus, error) {
	return s.runBalance(ctx, name, progress, balanceRun{moved: movedByPaused, run: btrfs.ResumeBalance})
}

// movedByPaused is what the balance may still move that is paused at mp.
func movedByPaused(mp string) (uint64, error) {
	b, err := btrfs.PausedBalance(mp)
	if errors.Is(err, btrfs.ErrNoBalance) {
		return 0, nil // which resuming it tells
	}
	if err != nil {
		return 0, err
	}
	return btrfs.MovedByBalance(mp, b)
}

// balanceRun is a balance of the file system at a mount point: how many bytes it
// moves, and how it is run.
type balanceRun struct {
	moved func(mp string) (uint64, error)
	run   func(ctx context.Context, mp string) (btrfs.BalanceProgress, error)
}

func (s *System) runBalance(ctx context.Context, name string, progress func(Progress), b balanceRun) (BalanceStatus, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return BalanceStatus{}, err
	}
	defer func() { _ = p.close() }()
	if err := s.refuseStrangers(p.rec); err != nil {
		return BalanceStatus{}, fmt.Errorf("cannot balance pool %s: %w", name, err)
	}
	if err := s.needMoved(ctx, p.rec, "the balance", b.moved); err != nil {
		return BalanceStatus{}, fmt.Errorf("cannot balance pool %s: %w", name, err)
	}
	var done btrfs.BalanceProgress
	err = s.watchHost(ctx, p.rec, func(ctx context.Context) (err error) {
		done, err = s.balance(ctx, p.rec, progress, b.run)
		return err
	})
	if err != nil {
		return BalanceStatus{}, fmt.Errorf("cannot balance pool %s: %w", name, balanceHint(name, err))
	}
	return BalanceStatus{Pool: name, Status: "none", BalanceProgress: done}, nil
}

// balance runs one, and tells progress: in bytes of the block groups, of which
// the kernel tells the number only, by their mean length.
func (s *System) balance(ctx context.Context, rec state.PoolRecord, progress func(Progress), run func(context.Context, string) (btrfs.BalanceProgress, error)) (btrfs.BalanceProgress, error) {
	mp := s.dir.MountPoint(rec.Name)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		mean := meanGroup(mp)
		for progress != nil {
			select {
			case <-stop:
				return
			case <-time.After(balancePoll):
			}
			if b, err := btrfs.GetBalance(mp); err == nil && b.Expected > 0 {
				progress(Progress{Name: "balance", Done: int64(min(b.Completed, b.Expected) * mean), Total: int64(b.Expected * mean)})
			}
		}
	}()
	out, err := run(ctx, mp)
	close(stop)
	<-ended
	return out, err
}

// meanGroup is the mean length of a pool's block groups, at least 1.
func meanGroup(mp string) uint64 {
	info, err := btrfs.FSInfo(mp)
	if err != nil || len(info.Devices) == 0 {
		return 1
	}
	extents, err := btrfs.DevExtents(mp, info.Devices[0].ID)
	if err != nil || len(extents) == 0 {
		return 1
	}
	return max(1, info.Devices[0].BytesUsed/uint64(len(extents)))
}

func balanceHint(name string, err error) error {
	switch {
	case errors.Is(err, btrfs.ErrNoBalance):
		return btrfs.ErrNoBalance // without the mount point
	case errors.Is(err, btrfs.ErrBusy):
		return withHint(err, "poolctl pool balance %s --status tells of a balance; --resume goes on with one that is paused, --cancel ends it", name)
	case errors.Is(err, btrfs.ErrPaused):
		return withHint(err, "poolctl pool balance %s --resume goes on with it", name)
	case errors.Is(err, btrfs.ErrNoRoom):
		return withHint(err, "make room, or balance less: --data-usage 10; or poolctl pool resize %s +1GiB", name)
	}
	return err
}

// PauseBalance pauses the balance that another command runs; it returns when it
// has paused.
func (s *System) PauseBalance(ctx context.Context, name string) error {
	return s.controlBalance(ctx, name, "pause the balance of", btrfs.PauseBalance)
}

// CancelBalance ends a balance that another command runs, or that is paused.
func (s *System) CancelBalance(ctx context.Context, name string) error {
	return s.controlBalance(ctx, name, "cancel the balance of", btrfs.CancelBalance)
}

func (s *System) controlBalance(ctx context.Context, name, verb string, control func(string) error) error {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	if err := control(s.dir.MountPoint(name)); err != nil {
		if errors.Is(err, btrfs.ErrNoBalance) {
			err = btrfs.ErrNoBalance
		}
		return fmt.Errorf("cannot %s pool %s: %w", verb, name, err)
	}
	return nil
}

// BalanceOf tells of a pool's balance, if there is one.
func (s *System) BalanceOf(ctx context.Context, name string) (BalanceStatus, error) {
	out := BalanceStatus{Pool: name, Status: "none"}
	p, err := s.openPool(ctx, name)
	if err != nil {
		return out, err
	}
	defer func() { _ = p.close() }()
	b, err := btrfs.GetBalance(s.dir.MountPoint(name))
	switch {
	case errors.Is(err, btrfs.ErrNoBalance):
		return out, nil
	case err != nil:
		return out, err
	case b.Running:
		out.Status = "running"
	default:
		out.Status = "paused"
	}
	out.BalanceProgress = b
	return out, nil
}

// reportPaused tells of a balance that waits to be gone on with: one that was
// paused, or that a power cut interrupted. The kernel does not do that by itself
// when a pool is attached (skip_balance), as it would keep the pool busy.
func (s *System) reportPaused(rec state.PoolRecord) {
	if b, err := btrfs.GetBalance(s.dir.MountPoint(rec.Name)); err == nil && !b.Running {
		s.noticef("a balance of pool %s is paused: poolctl pool balance %s --resume goes on with it, --cancel ends it", rec.Name, rec.Name)
	}
}
