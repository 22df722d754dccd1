package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

const (
	// hostFloor is what the host has to have left while block groups are moved: enough
	// for what is under way, and to take a pool back to its old size.
	hostFloor = 16 << 20
	// stepMargin is what it has to have left before a step of a shrink besides what that
	// writes: less than was planned with (hostGrowth), as trimming does not bring back all.
	stepMargin = 8 << 20
	// hostPoll is how often that is looked at.
	hostPoll = 10 * time.Millisecond
)

// watchHost calls run, which moves block groups of a pool, and watches meanwhile that
// the host does not fill up: when it has little left, what the pool has freed is given
// back to it, and if that is not enough, run's ctx ends. Whoever else writes there may
// be the cause. The error is ENOSPC then.
func (s *System) watchHost(ctx context.Context, rec state.PoolRecord, run func(context.Context) error) error {
	if rec.Kind != state.PoolFile {
		return run(ctx)
	}
	watched, cancel := context.WithCancelCause(ctx)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(hostPoll):
			}
			low, free := lowHost(rec)
			if !low {
				continue
			}
			if err := s.giveBack(rec, free); err != nil {
				cancel(err)
				return
			}
		}
	}()
	err := run(watched)
	close(stop)
	<-ended
	cause := context.Cause(watched)
	cancel(nil)
	if err != nil && cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// lowHost says whether the host has less left than hostFloor, or less than the pool's
// file can grow by, and how much it has.
func lowHost(rec state.PoolRecord) (low bool, free int64) {
	if rec.Kind != state.PoolFile {
		return false, 0
	}
	free, err := freeAt(rec.Source)
	return err == nil && free < min(hostFloor, holes(rec)), free
}

// giveBack trims a pool while block groups are moved, and fails when the host has as
// little as before.
func (s *System) giveBack(rec state.PoolRecord, had int64) error {
	if err := s.trimMoved(context.Background(), rec); err != nil {
		return err
	}
	low, free := lowHost(rec)
	if !low {
		return nil
	}
	return withHint(noSpaceError(fmt.Sprintf("%s on the host had only %s left while block groups were moved, and %s after trimming the pool",
		filepath.Dir(rec.Source), FormatSize(had), FormatSize(free))), "make room there: when it is full the kernel gives up the pool's file system")
}

// trimMoved gives back to the host what moving block groups has left free.
func (s *System) trimMoved(ctx context.Context, rec state.PoolRecord) error {
	if rec.Kind != state.PoolFile || isTrue(rec.Config["reserve"]) {
		return nil
	}
	mp := s.dir.MountPoint(rec.Name)
	err := btrfs.Sync(mp)
	if err == nil {
		_, err = btrfs.Trim(ctx, mp)
	}
	if errors.Is(err, btrfs.ErrNoDiscard) {
		return nil
	}
	return err
}

// roomForStep is called before each step of a shrink: what the one before has left is
// given back to the host, so that the pool's file grows by one step at most, and a
// step is refused for which the host has too little.
func (s *System) roomForStep(rec state.PoolRecord) func(context.Context, uint64) error {
	first := true
	return func(ctx context.Context, writes uint64) error {
		if rec.Kind != state.PoolFile {
			return nil
		}
		if !first {
			if err := s.trimMoved(ctx, rec); err != nil {
				return err
			}
		}
		first = false
		plan, err := planHost(rec.Name, "the next step of shrinking it", rec.Source, min(holes(rec), int64(writes)+stepMargin))
		if err != nil {
			return err
		}
		return plan.Err()
	}
}
