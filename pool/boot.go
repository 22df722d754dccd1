package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"poolctl/pool/tree"
)

// StartAtBoot starts the instances of the attached pools that are to be started when
// the machine is: those with boot.autostart=true, and of those that do not say so
// those that ran when the machine stopped. The highest boot.autostart.priority comes
// first, and boot.autostart.delay is waited for after each. One that cannot be
// started does not keep the others from it; their errors are joined. All networks
// are brought up before.
func (s *System) StartAtBoot(ctx context.Context) error {
	errs := []error{s.networksUp(ctx)}
	all, err := s.records(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, in := range s.bootOrder(all) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if s.isRunning(in.Name) {
			continue
		}
		if err := s.Start(ctx, in.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		if delay := time.Duration(numberOf(in.ExpandedConfig, bootDelayKey, 0)) * time.Second; delay > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(delay):
			}
		}
	}
	return errors.Join(errs...)
}

// networksUp brings up all networks.
func (s *System) networksUp(ctx context.Context) error {
	unlock, err := s.dir.LockNetworks(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := s.dir.ListNetworks()
	errs := []error{err}
	for _, name := range names {
		rec, err := s.dir.LoadNetwork(name)
		if err == nil {
			_, err = s.networkUp(ctx, rec)
		}
		errs = append(errs, ignoreNotExist(err))
	}
	return errors.Join(errs...)
}

// powerKey is whether an instance ran when it was last seen to: RUNNING or STOPPED.
const powerKey = "volatile.last_state.power"

// bootOrder is what of the instances is started at boot, in its order.
func (s *System) bootOrder(all []tree.Instance) []tree.Instance {
	var out []tree.Instance
	for _, in := range all {
		if in.Broken != nil {
			s.noticef("%s is not started: %s", in.Name, in.Broken)
			continue
		}
		_ = s.reexpandKnown(&in) // its pool may have been detached when a profile was changed; a start tells of the rest
		auto := in.ExpandedConfig[bootKey]
		if isTrue(auto) || auto == "" && in.Config[powerKey] == "RUNNING" {
			out = append(out, in)
		}
	}
	slices.SortStableFunc(out, func(a, b tree.Instance) int {
		return cmp.Or(numberOf(b.ExpandedConfig, bootPriorityKey, 0)-numberOf(a.ExpandedConfig, bootPriorityKey, 0), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// shutdownTimeout is how long an instance may take to stop when the machine does.
const shutdownTimeout = 30

// StopAtShutdown stops all running instances because the machine is stopped, and
// remembers that they ran. Those of the highest boot.stop.priority come first, all of
// one priority at a time. One that has not stopped after boot.host_shutdown_timeout is
// ended.
func (s *System) StopAtShutdown(ctx context.Context) error {
	live, err := s.liveNames()
	if err != nil {
		return err
	}
	configs := map[string]map[string]string{}
	for _, name := range live {
		in, err := s.InstanceConfig(ctx, name, true)
		if err != nil {
			s.noticef("%s is stopped as if it said nothing about that: %s", name, err)
		}
		configs[name] = in.Config
	}
	priority := func(name string) int { return numberOf(configs[name], stopPriorityKey, 0) }
	slices.SortStableFunc(live, func(a, b string) int { return cmp.Or(priority(b)-priority(a), cmp.Compare(a, b)) })
	var mu sync.Mutex
	var errs []error
	for len(live) > 0 {
		n := slices.IndexFunc(live, func(name string) bool { return priority(name) != priority(live[0]) })
		if n < 0 {
			n = len(live)
		}
		var group sync.WaitGroup
		for _, name := range live[:n] {
			group.Go(func() {
				if err := s.stopForShutdown(ctx, name, configs[name]); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
		group.Wait()
		live = live[n:]
	}
	return errors.Join(errs...)
}

// stopForShutdown stops one instance, at once where it does not let it.
func (s *System) stopForShutdown(ctx context.Context, name string, config map[string]string) error {
	o := StopOptions{Timeout: time.Duration(numberOf(config, stopTimeoutKey, shutdownTimeout)) * time.Second, atShutdown: true}
	o.Force = config[stopActionKey] == forceStop || o.Timeout == 0
	err := s.Stop(ctx, name, o)
	if err == nil || o.Force || !s.isRunning(name) {
		return ignoreStopped(err, s.isRunning(name))
	}
	s.noticef("%s is ended: %s", name, err)
	o.Force = true
	if err := s.Stop(ctx, name, o); err != nil && s.isRunning(name) {
		return fmt.Errorf("cannot end %s: %w", name, err)
	}
	return nil
}

// ignoreStopped leaves out that an instance that does not run could not be stopped.
func ignoreStopped(err error, running bool) error {
	if !running {
		return nil
	}
	return err
}
