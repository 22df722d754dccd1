package pool

import (
	"errors"
	"fmt"

	"poolctl/runtime"
)

// LiveInstance is what the kernel counts of a running instance at a moment.
type LiveInstance struct {
	Name   string
	PID    int
	Paused bool
	runtime.Stats
}

// LiveInstances are the running instances of all pools, sorted by name. It looks
// into no pool.
func (s *System) LiveInstances() ([]LiveInstance, error) {
	names, err := s.liveNames()
	if err != nil {
		return nil, err
	}
	out := make([]LiveInstance, 0, len(names))
	for _, n := range names {
		live, err := s.runningInstance(n)
		if errors.Is(err, runtime.ErrNotRunning) {
			continue
		}
		if err != nil {
			return nil, err
		}
		in := LiveInstance{Name: n, PID: live.PID()}
		var serr error
		in.Stats, serr = live.Stats()
		in.Paused, err = live.Paused()
		if err = errors.Join(serr, err, live.Close()); err != nil {
			if s.isEnding(n) {
				continue
			}
			return nil, fmt.Errorf("cannot ask %s for its state: %w", n, err)
		}
		out = append(out, in)
	}
	return out, nil
}
