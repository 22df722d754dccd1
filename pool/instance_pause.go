package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/runtime"
)

// Pause stops the processes of a running instance where they are; it keeps its
// memory and addresses. It lasts until Resume, a stop, or the end of the host's
// run: the kernel alone remembers it.
func (s *System) Pause(ctx context.Context, name string) error {
	return s.withRunning(ctx, "pause", name, func(live *runtime.Instance, paused bool) error {
		if paused {
			return withHint(errors.New("it is paused already"), "poolctl resume %s lets it go on", name)
		}
		return live.Pause(ctx)
	})
}

// Resume lets the processes of a paused instance go on.
func (s *System) Resume(ctx context.Context, name string) error {
	return s.withRunning(ctx, "resume", name, func(live *runtime.Instance, paused bool) error {
		if !paused {
			return errors.New("it is not paused")
		}
		return live.Resume()
	})
}

// withRunning calls do with a running instance, which is locked meanwhile.
func (s *System) withRunning(ctx context.Context, verb, name string, do func(live *runtime.Instance, paused bool) error) (err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, in.close()); err != nil {
			err = fmt.Errorf("cannot %s %s: %w", verb, name, err)
		}
	}()
	live, err := s.runningInstance(name)
	if errors.Is(err, runtime.ErrNotRunning) {
		return s.stoppedError(name, "poolctl start %s", name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	paused, err := live.Paused()
	if err != nil {
		return err
	}
	return do(live, paused)
}

// resumePaused resumes an instance if it is paused, and says whether it was.
func (s *System) resumePaused(name string) (paused bool, err error) {
	live, err := s.runningInstance(name)
	if err != nil {
		return false, nil // it has just stopped
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	if paused, err = live.Paused(); err == nil && paused {
		err = live.Resume()
	}
	return paused, err
}

// PausedInstances names the instances that are paused, of all pools.
func (s *System) PausedInstances() ([]string, error) { return s.liveWhere(true) }

// ActiveInstances names the instances that run and are not paused, of all pools.
func (s *System) ActiveInstances() ([]string, error) { return s.liveWhere(false) }

// StoppedInstances names the instances that do not run, of the attached pools.
func (s *System) StoppedInstances(ctx context.Context) ([]string, error) {
	recs, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rec := range recs {
		if rec.Broken == nil && !s.isRunning(rec.Name) {
			out = append(out, rec.Name)
		}
	}
	return out, nil
}

func (s *System) liveWhere(paused bool) ([]string, error) {
	names, err := s.liveNames()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		live, err := s.runningInstance(n)
		if err != nil {
			continue // it has just stopped
		}
		is, err := live.Paused()
		_ = live.Close()
		if err == nil && is == paused {
			out = append(out, n)
		}
	}
	return out, nil
}
