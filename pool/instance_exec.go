package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"poolctl/runtime"
)

// ExecOptions are the arguments of Exec.
type ExecOptions = runtime.ExecOptions

// Exec runs a command in a running instance and returns its exit code, 126 or
// 127 with an error when it cannot be run, 128+N when signal N ended it.
func (s *System) Exec(ctx context.Context, name string, o ExecOptions) (int, error) {
	live, err := s.runningInstance(name)
	if errors.Is(err, runtime.ErrNotRunning) {
		if err := s.cleanUpNow(ctx, s.notice); err != nil {
			return -1, err
		}
		p, _, ferr := s.findInstance(ctx, name)
		if ferr != nil {
			return -1, ferr
		}
		return -1, errors.Join(fmt.Errorf("cannot run a command in %s: %w", name, s.stoppedError(name, "poolctl start %s", name)), p.close())
	}
	if err != nil {
		return -1, err
	}
	defer func() { _ = live.Close() }()
	code, err := s.execCleaningUp(ctx, live, o)
	if errors.Is(err, runtime.ErrPaused) {
		err = withHint(err, "poolctl resume %s", name)
	}
	return code, err
}

// execCleaningUp runs the command and cleans up meanwhile, if Open has left that
// for later: a command that has a moment's work to do must not wait for it. What
// is to be told is told in the end, when the terminal is the caller's again.
func (s *System) execCleaningUp(ctx context.Context, live *runtime.Instance, o ExecOptions) (int, error) {
	var notices []string
	cleanUp := func() {
		err := s.cleanUpNow(ctx, func(line string) { notices = append(notices, line) })
		if err != nil && ctx.Err() == nil {
			notices = append(notices, err.Error())
		}
	}
	var beside sync.WaitGroup
	o.Started = func() { beside.Go(cleanUp) }
	code, err := live.Exec(ctx, o)
	beside.Wait()
	cleanUp() // the command could not be started
	for _, line := range notices {
		s.notice(line)
	}
	return code, err
}
