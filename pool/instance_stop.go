package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// defaultStopTimeout is how long a clean stop may take unless the user says so.
const defaultStopTimeout = 30 * time.Second

// RunningInstances names the instances that run, of all pools.
func (s *System) RunningInstances() ([]string, error) { return s.liveNames() }

// Stop stops a running instance: cleanly, by the signal its init understands,
// or at once with Force. A clean stop that takes longer than the timeout fails
// and leaves the instance running. An ephemeral one is deleted then.
func (s *System) Stop(ctx context.Context, name string, o StopOptions) (err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := s.stopLocked(ctx, in, o); err != nil {
		return fmt.Errorf("cannot stop %s: %w", name, err)
	}
	if in.rec.Ephemeral {
		return s.deleteLocked(ctx, in, forGood)
	}
	return nil
}

func (s *System) stopLocked(ctx context.Context, in *lockedInstance, o StopOptions) error {
	name := in.rec.Name
	if o.Timeout <= 0 {
		o.Timeout = defaultStopTimeout
	}
	if err := s.stopLive(ctx, name, runtime.StopOptions{Force: o.Force, Timeout: o.Timeout}); err != nil {
		if errors.Is(err, runtime.ErrTimeout) {
			err = withHint(err, "poolctl stop --force %s ends it at once", name)
		}
		return err
	}
	if in.rec.Broken == nil {
		power := "STOPPED"
		if o.atShutdown {
			power = "RUNNING"
		}
		s.notePower(in, power, func(*tree.Instance) {})
	}
	return nil
}

// stopLive stops an instance that runs or is about to.
func (s *System) stopLive(ctx context.Context, name string, o runtime.StopOptions) error {
	restarting := runtime.Restarting(s.instanceRunDir(name)) // before it is seen not to run
	live, err := s.runningInstance(name)
	if errors.Is(err, runtime.ErrNotRunning) {
		if restarting || runtime.Restarting(s.instanceRunDir(name)) {
			return runtime.StopRestarting(ctx, s.instanceRunDir(name), o)
		}
		return errors.New("it is stopped already")
	}
	if err != nil {
		return err
	}
	return errors.Join(live.Stop(ctx, o), live.Close())
}

// Restart stops and starts an instance.
func (s *System) Restart(ctx context.Context, name string, o StopOptions) (err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := s.stopLocked(ctx, in, o); err != nil {
		return fmt.Errorf("cannot restart %s: %w", name, err)
	}
	if in.rec, err = in.Instance(name); err != nil {
		return err
	}
	if err := s.startLocked(ctx, in); err != nil {
		return fmt.Errorf("cannot restart %s: %w", name, err)
	}
	return nil
}

// Delete deletes a stopped instance with its snapshots for good; with force a
// running one is stopped at once first.
func (s *System) Delete(ctx context.Context, name string, force bool) error {
	return s.deleteInstance(ctx, name, force, forGood)
}

func (s *System) deleteInstance(ctx context.Context, name string, force bool, how disposal) (err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := s.checkNoLook(name); err != nil {
		return fmt.Errorf("cannot delete %s: %w", name, err)
	}
	if isTrue(in.rec.ExpandedConfig[protectDeleteKey]) {
		return fmt.Errorf("cannot delete %s: %w", name, protected(name, protectDeleteKey))
	}
	if s.isRunning(name) {
		if !force {
			return withHint(fmt.Errorf("cannot delete %s: it is running", name), "stop it first, or poolctl delete --force %s", name)
		}
		if err := s.stopLocked(ctx, in, StopOptions{Force: true}); err != nil {
			return fmt.Errorf("cannot delete %s: %w", name, err)
		}
	}
	return s.deleteLocked(ctx, in, how)
}

// deleteLocked deletes an instance that does not run.
func (s *System) deleteLocked(ctx context.Context, in *lockedInstance, how disposal) error {
	if err := s.disposeInstance(ctx, in, how); err != nil {
		return err
	}
	return s.releaseAddresses(in.rec)
}

// releaseAddresses gives back the addresses that were reserved for an instance
// and drops its logs.
func (s *System) releaseAddresses(rec tree.Instance) error {
	var errs []error
	for _, name := range nicsOf(rec.ExpandedDevices) {
		errs = append(errs, s.releaseNIC(rec, name, rec.ExpandedDevices[name]))
	}
	return errors.Join(append(errs, s.removeLogs(rec.Name))...)
}
