package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"poolctl/pool/tree"
	"poolctl/runtime"
	"poolctl/runtime/network"
)

// OfflineOptions are the arguments of ExecOffline.
type OfflineOptions struct {
	ExecOptions
	// Network plugs in the instance's network devices, which begin with the addresses
	// that are reserved for it. Without it there is a loopback device.
	Network bool
}

// offlineRun is a command's surroundings: an instance of which nothing runs but that.
type offlineRun struct {
	s     *System
	live  *runtime.Instance
	hold  *offlineHold
	clone *tree.Clone // of a snapshot; nil for an instance's own root
}

// ExecOffline runs a command in the root of an instance that does not run, or with
// NAME/SNAPSHOT in a writable copy of a snapshot's, which is thrown away afterwards.
// It runs as it would in the instance: with its namespaces, ids, capabilities, system
// call filter, limits and environment, but without its init, disks, proxies and,
// unless asked for, network. Meanwhile the instance cannot be started or changed. The
// exit codes are those of Exec. Killed, it is the next command that ends what runs.
func (s *System) ExecOffline(ctx context.Context, ref string, o OfflineOptions) (code int, err error) {
	if err := s.cleanUpNow(ctx, s.notice); err != nil {
		return -1, err
	}
	run, err := s.startOffline(ctx, ref, o)
	if err != nil {
		return -1, fmt.Errorf("cannot run a command in %s: %w", ref, err)
	}
	code, err = run.live.Exec(ctx, o.ExecOptions)
	if eerr := run.end(context.WithoutCancel(ctx)); eerr != nil {
		err = errors.Join(err, fmt.Errorf("cannot clean up after the command in %s: %w", ref, eerr))
		if code == 0 {
			code = -1
		}
	}
	return code, err
}

// end ends all that runs, or is just being started by a process that is gone, and
// removes what was made.
func (r *offlineRun) end(ctx context.Context) error {
	errs := []error{runtime.End(ctx, r.s.instanceRunDir(r.hold.id), r.s.offlineCgroup(r.hold.id))}
	if r.live != nil {
		errs = append(errs, r.live.Close())
	}
	if r.clone != nil {
		errs = append(errs, r.clone.Close())
	}
	return errors.Join(append(errs, r.hold.release())...)
}

// startOffline makes the surroundings, under the instance's lock.
func (s *System) startOffline(ctx context.Context, ref string, o OfflineOptions) (_ *offlineRun, err error) {
	name, snap, isSnapshot := strings.Cut(ref, "/")
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	running := s.isRunning(name)
	switch {
	case isSnapshot && running && o.Network:
		return nil, withHint(fmt.Errorf("%s is running, and has its addresses", name), "leave --network out, or stop it first")
	case !isSnapshot && running:
		return nil, withHint(errors.New("it is running"), "poolctl exec %s -- COMMAND runs it there", name)
	}
	if !isSnapshot {
		if err := s.checkNotMountedWritable(name); err != nil {
			return nil, err
		}
	}
	r := &offlineRun{s: s}
	if r.hold, err = s.holdOffline(offlineNote{Ref: ref, Pool: in.openedPool.rec.Name, Network: o.Network}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.end(context.WithoutCancel(ctx)))
		}
	}()
	var nics []network.NIC
	if o.Network {
		plugged, err := s.dir.LockNetworks(ctx, true)
		if err != nil {
			return nil, err
		}
		defer plugged()
		if nics, err = s.offlineNICs(ctx, in); err != nil {
			return nil, err
		}
	}
	volume := in.InstancePath(name)
	if isSnapshot {
		if err := snapshotRecord(in, snap); err != nil {
			return nil, err
		}
		if r.clone, err = in.CloneSnapshot(ctx, name, snap); err != nil {
			return nil, err
		}
		volume = r.clone.Path
	}
	spec, err := s.offlineSpec(ctx, in)
	if err != nil {
		return nil, err
	}
	spec.NICs = nics
	if o.Network && !isSnapshot {
		if err := in.WithHeadroom(name, func() error { return s.keepResolver(ctx, in, spec.NICs) }); err != nil {
			return nil, err
		}
	}
	spec.Rootfs = filepath.Join(volume, "rootfs")
	spec.RunDir, spec.Cgroup = s.instanceRunDir(r.hold.id), s.offlineCgroup(r.hold.id)
	if err := runtime.Start(ctx, spec); err != nil {
		return nil, err
	}
	r.live, err = runtime.Open(spec.RunDir)
	return r, err
}

// offlineNICs are the network devices that the instance has now, also for a snapshot's
// copy: its addresses are reserved for those.
func (s *System) offlineNICs(ctx context.Context, in *lockedInstance) ([]network.NIC, error) {
	if in.rec.Broken != nil {
		return nil, in.rec.Broken
	}
	if err := s.reexpandKnown(&in.rec); err != nil {
		return nil, err
	}
	return s.nics(ctx, in)
}

// snapshotRecord gives a locked instance the record that it had when a snapshot was
// made, with the ids that it has now: those are noted of the instance.
func snapshotRecord(in *lockedInstance, snap string) error {
	rec, err := in.InstanceAt(in.rec.Name, snap)
	if err != nil {
		return snapshotError(err, in.rec.Name)
	}
	for _, key := range []string{volatileBase, volatileCurrent} {
		for _, config := range []map[string]string{rec.Config, rec.ExpandedConfig} {
			if v, set := in.rec.Config[key]; set {
				config[key] = v
			} else {
				delete(config, key)
			}
		}
	}
	in.rec = rec
	return nil
}

// offlineSpec is that of a start, but for what belongs to the instance's own life.
func (s *System) offlineSpec(ctx context.Context, in *lockedInstance) (spec runtime.Spec, err error) {
	if in.rec.Broken != nil {
		return spec, in.rec.Broken
	}
	if err := s.reexpandKnown(&in.rec); err != nil {
		return spec, err
	}
	linux32, err := checkArch(ctx, in.rec.Architecture)
	if err != nil {
		return spec, err
	}
	root := rootDevice(in.rec.ExpandedDevices)
	in.rec.ExpandedDevices = map[string]map[string]string{root: in.rec.ExpandedDevices[root]}
	if spec, err = s.specOf(ctx, in); err != nil {
		return spec, err
	}
	spec.Linux32, spec.Idle = linux32, true
	spec.About, spec.ExitFile, spec.ConsoleLog, spec.AutoRestart, spec.TellEnd = "", "", "", false, false
	return spec, nil
}
