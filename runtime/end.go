package runtime

import (
	"context"
	"errors"
	"os"
	"time"
)

// End ends the instance of a run directory at once, also one that is just being
// started by somebody else who is gone, and returns when nothing is left of it.
// cgroup is its path, as in Spec. It is no error when there is none.
func End(ctx context.Context, runDir, cgroup string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, finishTime, errors.New("its supervisor does not finish"))
	defer cancel()
	for {
		inst, err := Open(runDir)
		if err == nil {
			err = errors.Join(inst.Stop(ctx, StopOptions{Force: true}), inst.Close())
		}
		if err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
		// A supervisor has the lock for as long as anything is there that it has made.
		lock, err := tryLock(runDir, false)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			return endLocked(ctx, lock, cgroup)
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// endLocked does the work of a supervisor that is gone, and gives up its lock.
func endLocked(ctx context.Context, lock *runLock, cgroup string) error {
	st, err := loadState(lock.dir)
	if err != nil {
		st = state{} // the cgroup says the rest
	}
	_, _, err = finish(ctx, lock, st, cgroup, Exit{At: time.Now().UTC(), Reason: ExitForced})
	return err
}
