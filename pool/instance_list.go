package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// Instances lists instances with their snapshots and, of the running ones,
// their live state. With names only these are listed; one that does not exist
// is an error.
func (s *System) Instances(ctx context.Context, names ...string) ([]Instance, error) {
	pools, err := s.shownPools()
	if err != nil {
		return nil, err
	}
	live, err := s.liveNames()
	if err != nil {
		return nil, err
	}
	out := []Instance{}
	for _, pool := range pools {
		p, err := s.openPool(ctx, pool)
		if err != nil {
			if err := s.leftOut(ctx, pool, err); err != nil {
				return nil, err
			}
			continue
		}
		found, err := s.instancesOf(ctx, p, live, names)
		if err = s.leftOut(ctx, pool, errors.Join(err, p.close())); err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	for _, n := range names {
		if !slices.ContainsFunc(out, func(in Instance) bool { return in.Name == n }) {
			return nil, withHint(fmt.Errorf("cannot find instance %q: %w", n, ErrNotFound), "poolctl list shows them")
		}
	}
	return out, nil
}

// instancesOf lists the instances of one opened pool.
func (s *System) instancesOf(ctx context.Context, p *openedPool, live, names []string) ([]Instance, error) {
	all, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Instance, 0, len(all))
	for _, rec := range all {
		if len(names) > 0 && !slices.Contains(names, rec.Name) {
			continue
		}
		in := publicInstance(rec, p.rec.Name)
		for _, sn := range rec.Snapshots {
			in.Snapshots = append(in.Snapshots, publicSnapshot(sn))
		}
		if slices.Contains(live, rec.Name) {
			if err := s.addState(&in); err != nil {
				return nil, err
			}
		}
		out = append(out, in)
	}
	return out, ctx.Err()
}

// Instance shows one instance, attaching its pool if it was detached.
func (s *System) Instance(ctx context.Context, name string) (Instance, error) {
	if p, _, err := s.findInstance(ctx, name); err == nil {
		defer func() { _ = p.close() }() // it stays attached until it is listed
	}
	all, err := s.Instances(ctx, name)
	if err != nil {
		return Instance{}, err
	}
	s.addExit(&all[0])
	return all[0], nil
}

// InstanceInfo is Instance with what takes longer to find out: what its disks
// take, how many of its processes were killed for want of memory, and how much
// processor time it may have.
func (s *System) InstanceInfo(ctx context.Context, name string) (Instance, error) {
	in, err := s.Instance(ctx, name)
	if err != nil {
		return in, err
	}
	one := []Instance{in}
	if err := s.AddDiskUsage(ctx, one); err != nil {
		return in, err
	}
	in = one[0]
	if in.State == nil {
		return in, nil
	}
	live, err := s.runningInstance(name)
	if err != nil { // it has just stopped
		return in, nil
	}
	defer func() { _ = live.Close() }()
	kills, kerr := live.OOMKills()
	cpu, cerr := live.CPUAllowed()
	if err := errors.Join(kerr, cerr); err != nil {
		if s.isEnding(name) {
			return in, nil
		}
		return in, err
	}
	in.State.OOMKills, in.State.CPUAllowed = kills, cpu
	return in, nil
}

// publicInstance is an instance record in the fields that users see.
func publicInstance(rec tree.Instance, pool string) Instance {
	in := Instance{
		Name: rec.Name, Description: rec.Description, Status: "Stopped", Type: rec.Type, Architecture: rec.Architecture,
		CreatedAt: rec.CreatedAt, LastUsedAt: rec.LastUsedAt, Ephemeral: rec.Ephemeral, Profiles: rec.Profiles, Config: rec.Config,
		Devices: rec.Devices, ExpandedConfig: rec.ExpandedConfig, ExpandedDevices: rec.ExpandedDevices, Pool: pool, Snapshots: []Snapshot{},
	}
	if rec.Broken != nil {
		in.Status, in.Type, in.Problem = "Broken", "container", rec.Broken.Error()
	}
	return in
}

func publicSnapshot(sn tree.Snapshot) Snapshot {
	return Snapshot{Name: sn.Name, CreatedAt: sn.CreatedAt, ExpiresAt: sn.ExpiresAt, Stateful: sn.Stateful}
}

// addState asks the kernel about a running instance. One that stops meanwhile
// is listed as stopped, and one that is about to be started again by itself as starting.
func (s *System) addState(in *Instance) error {
	live, err := s.runningInstance(in.Name)
	if errors.Is(err, runtime.ErrNotRunning) {
		if runtime.Restarting(s.instanceRunDir(in.Name)) {
			in.Status = "Starting"
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = live.Close() }()
	ifs, err := live.Interfaces()
	stats, serr := live.Stats()
	paused, perr := live.Paused()
	if err = errors.Join(err, serr, perr); err != nil {
		if s.isEnding(in.Name) {
			return nil
		}
		return fmt.Errorf("cannot ask %s for its state: %w", in.Name, err)
	}
	in.Status = "Running"
	if paused {
		in.Status = "Frozen" // as Incus calls it
	}
	in.State = &InstanceState{
		PID: live.PID(), StartedAt: live.StartedAt(), Processes: stats.Processes, CPU: stats.CPU,
		Memory: stats.Memory, MemoryPeak: stats.MemoryPeak, MemoryLimit: stats.MemoryLimit, Swap: stats.Swap, SwapPeak: stats.SwapPeak,
		Network: ifs,
	}
	return nil
}

// isEnding says whether an instance that could not be asked is about to be gone:
// a process that exits loses its namespaces a moment before it is a dead one.
func (s *System) isEnding(name string) bool {
	for range 50 {
		if !s.isLive(name) {
			return true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return false
}
