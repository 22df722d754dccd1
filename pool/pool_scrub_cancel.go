package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// cancelPoll is how often a scrub looks whether it is to end, and who has it end
// whether it did.
const cancelPoll = 50 * time.Millisecond

// scrubMark is the file that asks the scrub of a pool to end. The kernel knows of
// no scrub that it has not begun, as it waits for a balance.
func (s *System) scrubMark(name string) string {
	return filepath.Join(s.dir.Root, "scrubs", name+".cancel")
}

// cancellableScrub runs a scrub, whose lock the caller has, until CancelScrub of
// another command ends it: the error is btrfs.ErrCancelled then.
func (s *System) cancellableScrub(ctx context.Context, name string, run func(context.Context) error) error {
	mark := s.scrubMark(name)
	if err := removeMark(mark); err != nil { // of one who gave up waiting
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	asked, ended := atomic.Bool{}, make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-inner.Done():
				return
			case <-time.After(cancelPoll):
			}
			if _, err := os.Lstat(mark); err == nil {
				asked.Store(true)
				cancel()
			}
		}
	}()
	err := run(inner)
	cancel()
	<-ended
	if asked.Load() && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		err = btrfs.ErrCancelled
	}
	return errors.Join(err, removeMark(mark))
}

func removeMark(mark string) error {
	if err := os.Remove(mark); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// scrubHeld says whether a command is at a scrub of the pool.
func (s *System) scrubHeld(ctx context.Context, name string) (bool, error) {
	unlock, err := s.dir.LockScrub(ctx, name, true, false)
	if errors.Is(err, state.ErrLocked) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	unlock()
	return false, nil
}

// CancelScrub ends the scrub that another command runs, also when the kernel has
// not begun it yet, and returns once it has ended.
func (s *System) CancelScrub(ctx context.Context, name string) error {
	return s.controlBalance(ctx, name, "cancel the scrub of", func(mp string) error {
		held, err := s.scrubHeld(ctx, name)
		if err != nil {
			return err
		}
		if held {
			return s.askScrubToEnd(ctx, name)
		}
		if err := btrfs.CancelScrub(mp); errors.Is(err, btrfs.ErrNoScrub) { // another program's
			return btrfs.ErrNoScrub
		} else if err != nil {
			return err
		}
		return nil
	})
}

// askScrubToEnd leaves the mark until nobody is at the scrub any more.
func (s *System) askScrubToEnd(ctx context.Context, name string) error {
	mark := s.scrubMark(name)
	if err := os.MkdirAll(filepath.Dir(mark), 0o700); err != nil {
		return err
	}
	for {
		if err := os.WriteFile(mark, nil, 0o600); err != nil { // again: it may have begun after the first one
			return fmt.Errorf("cannot ask it to end: %w", err)
		}
		held, err := s.scrubHeld(ctx, name)
		if err != nil || !held {
			return errors.Join(err, removeMark(mark))
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), removeMark(mark))
		case <-time.After(cancelPoll):
		}
	}
}
