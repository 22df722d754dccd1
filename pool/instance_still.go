package pool

import (
	"context"
	"errors"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/runtime"
)

const opStill = "instance-still"

// stillArgs name the instance that is held.
type stillArgs struct {
	Instance string `json:"instance"`
}

// The pause of an instance is below 50 ms. A snapshot of one subvolume is of one moment
// anyway, and what is frozen for longer is seen from outside.
const (
	// stillTime is how long processes may take to be frozen: after that they go on.
	stillTime = 20 * time.Millisecond
	// heldTime is how long they are frozen at most.
	heldTime = 20 * time.Millisecond
)

// still calls do while the processes of an instance, if it runs, are frozen, and lets
// them go on when it has ended, or before if it takes longer than heldTime. What is in
// memory is written before, so that little is left for do. An intent has the next
// command let them go on when this one is killed.
func (s *System) still(ctx context.Context, in *lockedInstance, do func() error) (err error) {
	name := in.rec.Name
	live, err := s.runningInstance(name)
	if errors.Is(err, runtime.ErrNotRunning) {
		return do()
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	if paused, err := live.Paused(); err != nil || paused {
		return errors.Join(err, do())
	}
	if err := btrfs.Sync(in.Path()); err != nil {
		return err
	}
	e, err := journal.BeginUnsynced(ctx, s.journalDir(), opStill, stillArgs{name})
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, stillTime)
	defer cancel()
	if live.Pause(short) != nil { // thawed again, or there is no freezer
		return errors.Join(do(), e.Done())
	}
	err = whileHeld(live, do)
	if rerr := live.Resume(); rerr != nil && s.isLive(name) {
		return errors.Join(err, rerr, e.Close())
	}
	return errors.Join(err, e.Done())
}

// whileHeld calls do, and lets a frozen instance go on when that takes too long.
func whileHeld(live *runtime.Instance, do func() error) error {
	resumed := make(chan struct{})
	timer := time.AfterFunc(heldTime, func() {
		defer close(resumed)
		_ = live.Resume() // the caller does it again
	})
	err := do()
	if !timer.Stop() {
		<-resumed // nobody is to be resumed who is paused later
	}
	return err
}

// recoverStill lets an instance go on that a killed command held.
func (s *System) recoverStill(_ context.Context, e *journal.Entry) error {
	var args stillArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	live, err := s.runningInstance(args.Instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(live.Resume(), live.Close())
}
