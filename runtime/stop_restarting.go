package runtime

import (
	"context"
	"errors"
	"os"
	"time"
)

// restartPoll is how often a supervisor that is about to boot its instance again
// looks whether somebody stops it.
const restartPoll = 50 * time.Millisecond

// stoppedWithin waits before the instance is started again, and says whether
// somebody has stopped it meanwhile.
func (s *supervisor) stoppedWithin(pause time.Duration) bool {
	s.state.Restarting = true
	if err := s.state.save(s.spec.RunDir); err != nil {
		s.log.Print(err)
	}
	for end := time.Now().Add(pause); ; {
		if stopped, _ := stopAnnounced(s.spec.RunDir); stopped || s.isDown() {
			return true
		}
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		time.Sleep(min(left, restartPoll))
	}
}

// Restarting says whether the instance of a run directory is not running, but is
// about to be started again by its supervisor. Open finds none then.
func Restarting(runDir string) bool {
	st, err := loadState(runDir)
	if err != nil || !st.Restarting {
		return false
	}
	if boot, err := bootID(); err != nil || boot != st.BootID {
		return false
	}
	lock, err := tryLock(runDir, false)
	if err == nil {
		_ = lock.release() // its supervisor was killed
	}
	return errors.Is(err, errLocked)
}

// StopRestarting stops an instance that is Restarting, and returns when it has been
// cleaned up. One that has come up by then is stopped as by Stop.
func StopRestarting(ctx context.Context, runDir string, o StopOptions) error {
	note, err := (&Instance{dir: runDir}).announceStop(o.Force)
	if err != nil {
		return err
	}
	defer func() { _ = note.Close() }() // it is only locked
	wait, cancel := context.WithTimeoutCause(ctx, finishTime, errors.New("its supervisor does not finish"))
	defer cancel()
	for {
		lock, err := tryLock(runDir, false)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err == nil:
			return lock.release() // its supervisor was killed: the next command cleans up
		case !errors.Is(err, errLocked):
			return err
		}
		if now, err := Open(runDir); err == nil {
			return errors.Join(now.Stop(ctx, o), now.Close())
		}
		select {
		case <-wait.Done():
			return context.Cause(wait)
		case <-time.After(lockPoll):
		}
	}
}
