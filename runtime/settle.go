package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ending says whether the instance of a run directory has ended, and is still being
// cleaned up by its supervisor. One that is about to be started again is not.
func Ending(runDir string) (bool, error) {
	st, err := loadState(runDir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the instance's state: %w", err)
	}
	if !st.Ready || st.Restarting { // being started, or never was: whoever does that cleans up
		return false, nil
	}
	fd, err := st.openInit()
	if err == nil {
		return false, unix.Close(fd)
	}
	if !errors.Is(err, ErrNotRunning) {
		return false, err
	}
	return true, nil
}

// AwaitEnd returns when nothing is left of an instance that is Ending. When its
// supervisor is gone, it does that one's work. The caller must not keep
// hooks.Ended from what it does.
func AwaitEnd(ctx context.Context, runDir, cgroup string, hooks Hooks) error {
	ctx, cancel := context.WithTimeoutCause(ctx, finishTime, errors.New("the instance has stopped, but its supervisor does not finish"))
	defer cancel()
	for {
		ending, err := Ending(runDir)
		if err != nil || !ending {
			return err
		}
		// Without its lock there is nobody who cleans up.
		if err := sweepOne(ctx, runDir, cgroup, false, hooks); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}
