package pool

import (
	"context"
	"fmt"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

const (
	// watchEvery is how often a watch looks at the pool's free space.
	watchEvery = 50 * time.Millisecond
	// watchMargin is what a watch leaves free: 64 MiB, or a sixteenth of a pool of less
	// than 1 GiB.
	watchMargin = 64 << 20
)

// watchSpace is the guard while something is written of which it is not known how
// large it becomes: an archive may hold a thousand times its own size, and a stream has
// no size. When the pool has less left than a margin, the context ends, with the refusal
// as its cause, before instances run out of room. stop ends the watch.
//
// What is written but not allocated yet is counted as well (see btrfs.Pending).
func (s *System) watchSpace(ctx context.Context, rec state.PoolRecord, what string) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			if err := s.checkMargin(rec, what); err != nil {
				cancel(err)
				return
			}
		}
	}()
	return watched, func() { cancel(nil); <-done }
}

// checkMargin refuses to go on when too little is left of a pool.
func (s *System) checkMargin(rec state.PoolRecord, what string) error {
	usage, err := btrfs.GetUsage(s.dir.MountPoint(rec.Name))
	if err != nil {
		return nil //nolint:nilerr // what is written fails for the same reason, and says it better
	}
	free, margin := poolFree(usage), min(watchMargin, int64(usage.Size/16))
	if pending, err := btrfs.Pending(rec.UUID); err == nil {
		free -= int64(pending)
	}
	if free >= margin {
		return nil
	}
	problem := fmt.Sprintf("pool %s is full: less than %s is left, and %s is larger: it was given up, so that instances have room to write", rec.Name, FormatSize(margin), what)
	return withHint(noSpaceError(problem), "poolctl pool resize %[1]s SIZE makes it larger; or delete what is not needed: poolctl pool usage %[1]s", rec.Name)
}

// watchCause is the refusal of a watch that has ended ctx, in place of the error
// that came of that; else err.
func watchCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && isFull(cause) {
		return cause
	}
	return err
}

// awaitFreed waits until what was deleted after a failure is free again, a minute at most:
// until then the pool is as full as the failed operation made it.
func (s *System) awaitFreed(rec state.PoolRecord) error {
	mp := s.dir.MountPoint(rec.Name)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := btrfs.Sync(mp); err != nil {
			return err
		}
		deleting, err := btrfs.Deleting(mp)
		if err != nil {
			return err
		}
		if !deleting || time.Now().After(end) {
			return btrfs.Sync(mp) // what the cleaner freed counts from the commit on
		}
	}
}
