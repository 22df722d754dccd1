package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/network"
	"poolctl/runtime/seccomp"
)

// Instance is a running instance, held by its init's pidfd. Close it after use.
type Instance struct {
	dir   string
	state state
	pidfd int
	// layout is the host's, read from its mount table when it is needed first.
	layout func() (cgroup.Layout, error)
}

// Open finds the running instance of a run directory; ErrNotRunning when there
// is none, or when it has not executed its init yet, or has ended.
func Open(runDir string) (*Instance, error) {
	st, err := loadState(runDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the instance's state: %w", err)
	}
	if !st.Ready {
		return nil, ErrNotRunning
	}
	fd, err := st.openInit()
	if err != nil {
		return nil, err
	}
	return newInstance(runDir, st, fd), nil
}

func newInstance(runDir string, st state, pidfd int) *Instance {
	return &Instance{dir: runDir, state: st, pidfd: pidfd, layout: sync.OnceValues(cgroup.Detect)}
}

// Close gives up the hold; the instance is not affected.
func (i *Instance) Close() error { return unix.Close(i.pidfd) }

// PID is the number of the instance's init on the host.
func (i *Instance) PID() int { return i.state.InitPID }

// StartedAt is when init was executed.
func (i *Instance) StartedAt() time.Time { return i.state.StartedAt }

// Interfaces lists the network interfaces inside, with addresses and counters.
func (i *Instance) Interfaces() ([]network.Interface, error) {
	return network.Interfaces(i.state.InitPID)
}

// Stats are an instance's counters.
type Stats = cgroup.Stats

// Stats reads the counters of the instance's cgroup.
func (i *Instance) Stats() (Stats, error) {
	g, err := i.group()
	if err != nil {
		return Stats{}, err
	}
	return g.Stats()
}

// CPUAllowed is the processor time that its processes may have in each second.
func (i *Instance) CPUAllowed() (time.Duration, error) {
	l, err := loadLimits(i.dir)
	if err != nil {
		return 0, err
	}
	g, err := i.group()
	if err != nil {
		return 0, err
	}
	allowed := time.Duration(goruntime.NumCPU()) * time.Second
	if l.CPUCount > 0 || l.CPUs != "" {
		cpus, err := g.CPUs()
		if err != nil {
			return 0, err
		}
		allowed = time.Duration(len(cpus)) * time.Second
	}
	if l.CPUPeriod > 0 {
		allowed = min(allowed, time.Duration(float64(time.Second)*float64(l.CPUQuota)/float64(l.CPUPeriod)))
	}
	return allowed, nil
}

// OOMKills is how many of its processes the kernel has killed for want of memory.
func (i *Instance) OOMKills() (int64, error) {
	g, err := i.group()
	if err != nil {
		return 0, err
	}
	return g.OOMKills()
}

func (i *Instance) group() (cgroup.Group, error) {
	layout, err := i.layout()
	if err != nil {
		return cgroup.Group{}, err
	}
	return layout.Group(i.state.Cgroup)
}

// filter is the filter of system calls that the instance was started with.
func (i *Instance) filter() (seccomp.Program, error) {
	data, err := os.ReadFile(filepath.Join(i.dir, filterFile))
	if errors.Is(err, os.ErrNotExist) { // it ended, or was started by a version that had none
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the filter of system calls: %w", err)
	}
	return data, nil
}

// waitEnd waits until a pidfd's process has ended, or ctx has.
func waitEnd(ctx context.Context, pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Short enough for a cancellation; the end itself wakes it at once.
		n, err := unix.Poll(fds, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot wait for the instance's init: %w", err)
		}
		if n == 1 {
			return nil
		}
	}
}
