package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"poolctl/pool/tree"
)

// AddInstanceDevice gives an instance a device of its own: config has its type
// and keys. One of that name, its own or a profile's, is refused.
func (s *System) AddInstanceDevice(ctx context.Context, instance, device string, config map[string]string) error {
	return s.changeDevices(ctx, instance, func(in tree.Instance) (map[string]map[string]string, error) {
		if _, own := in.Devices[device]; own {
			return nil, fmt.Errorf("device %s: %w", device, ErrExists)
		}
		if err := checkDeviceName(device); err != nil {
			return nil, err
		}
		out := cloneDevices(in.Devices)
		out[device] = withoutEmpty(config)
		return out, nil
	})
}

// OverrideInstanceDevice gives an instance a copy of a device that a profile
// gives it, with other keys laid over it.
func (s *System) OverrideInstanceDevice(ctx context.Context, instance, device string, config map[string]string) error {
	return s.changeDevices(ctx, instance, func(in tree.Instance) (map[string]map[string]string, error) {
		if _, own := in.Devices[device]; own {
			return nil, withHint(fmt.Errorf("device %s: %w, as its own", device, ErrExists), "poolctl config device set %s %s KEY=VALUE changes it", instance, device)
		}
		if _, inherited := in.ExpandedDevices[device]; !inherited {
			return nil, withHint(fmt.Errorf("no profile has a device %s: %w", device, ErrNotFound), "poolctl config device add %s %s TYPE KEY=VALUE", instance, device)
		}
		return overrideDevice(in.Devices, in.ExpandedDevices, device, config), nil
	})
}

// SetInstanceDevice changes keys of an instance's own device; a key with "" is
// unset. A root disk's size takes effect at once, also in a running instance;
// the size that it has already is counted anew.
func (s *System) SetInstanceDevice(ctx context.Context, instance, device string, config map[string]string) error {
	return s.changeDevices(ctx, instance, func(in tree.Instance) (map[string]map[string]string, error) {
		if err := checkOwnDevice(in, device); err != nil {
			return nil, err
		}
		return overrideDevice(in.Devices, in.Devices, device, config), nil
	})
}

// UnsetInstanceDevice removes keys of an instance's own device.
func (s *System) UnsetInstanceDevice(ctx context.Context, instance, device string, keys ...string) error {
	config := map[string]string{}
	for _, k := range keys {
		config[k] = ""
	}
	return s.SetInstanceDevice(ctx, instance, device, config)
}

// RemoveInstanceDevice removes devices that are the instance's own, all or none.
func (s *System) RemoveInstanceDevice(ctx context.Context, instance string, devices ...string) error {
	return s.changeDevices(ctx, instance, func(in tree.Instance) (map[string]map[string]string, error) {
		out := cloneDevices(in.Devices)
		for _, d := range devices {
			if err := checkOwnDevice(in, d); err != nil {
				return nil, err
			}
			delete(out, d)
		}
		return out, nil
	})
}

// InstanceDevice is one of the instance's own devices, for reading.
func (s *System) InstanceDevice(ctx context.Context, instance, device string) (map[string]string, error) {
	in, err := s.Instance(ctx, instance)
	if err != nil {
		return nil, err
	}
	if err := checkOwnDevice(tree.Instance{Name: instance, Devices: in.Devices, ExpandedDevices: in.ExpandedDevices}, device); err != nil {
		return nil, fmt.Errorf("cannot read device %s of %s: %w", device, instance, err)
	}
	return in.Devices[device], nil
}

// checkOwnDevice refuses a device that the instance has not, or has from a profile.
func checkOwnDevice(in tree.Instance, device string) error {
	if _, own := in.Devices[device]; own {
		return nil
	}
	if _, inherited := in.ExpandedDevices[device]; inherited {
		return withHint(fmt.Errorf("device %s is a profile's", device), "poolctl config device override %s %s [KEY=VALUE...] makes it the instance's own", in.Name, device)
	}
	return withHint(fmt.Errorf("device %s: %w", device, ErrNotFound), "poolctl config device list %s shows its own devices", in.Name)
}

func cloneDevices(devices map[string]map[string]string) map[string]map[string]string {
	out := map[string]map[string]string{}
	for n, d := range devices {
		out[n] = maps.Clone(d)
	}
	return out
}

func withoutEmpty(config map[string]string) map[string]string {
	out := maps.Clone(config)
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// overrideDevice is devices with one more: base's of that name with config laid
// over it, "" removing a key.
func overrideDevice(devices, base map[string]map[string]string, device string, config map[string]string) map[string]map[string]string {
	out := cloneDevices(devices)
	dev := maps.Clone(base[device])
	if dev == nil {
		dev = map[string]string{}
	}
	maps.Copy(dev, config)
	out[device] = withoutEmpty(dev)
	return out
}

// changeDevices changes an instance's own devices: change returns what they are
// to be.
func (s *System) changeDevices(ctx context.Context, instance string, change func(in tree.Instance) (map[string]map[string]string, error)) error {
	return s.changeInstance(ctx, "the devices of ", instance, func(in *tree.Instance) (err error) {
		in.Devices, err = change(*in)
		return err
	})
}

// applyDevices makes a change effective before it is recorded, and returns how
// to take it back. Besides disks, device nodes, nics, proxies, and the size of the root
// disk, nothing can be changed while the instance runs.
func (s *System) applyDevices(ctx context.Context, in *lockedInstance, was, now tree.Instance) (undo func(context.Context) error, err error) {
	running, sizeOnly := s.isRunning(in.rec.Name), true
	for _, n := range changedDevices(was.ExpandedDevices, now.ExpandedDevices) {
		before, after := was.ExpandedDevices[n], now.ExpandedDevices[n]
		plugged := isPlugged(before) && isPlugged(after)
		if running && !plugged && !onlySizeDiffers(before, after) {
			return nil, withHint(fmt.Errorf("device %s cannot be changed while it runs", n), "poolctl stop %s first", in.rec.Name)
		}
		sizeOnly = sizeOnly && onlySizeDiffers(before, after)
	}
	before, err := rootSize(was.ExpandedDevices)
	if err != nil {
		before = 0 // a size that was written by hand, which nobody could hold
	}
	after, err := rootSize(now.ExpandedDevices)
	if err != nil {
		return nil, err
	}
	unplug, err := s.plugLimited(ctx, in, was.ExpandedDevices, now.ExpandedDevices)
	if err != nil || before == after {
		if err == nil && sizeOnly { // the size that it has: with simple quotas the limit may not be right any more
			s.keepInstanceLimit(ctx, in)
		}
		return unplug, err
	}
	path := in.InstancePath(in.rec.Name)
	if err := s.setLimit(ctx, in.openedPool, in.rec.Name, path, after); err != nil {
		return nil, errors.Join(err, unplug(context.WithoutCancel(ctx)))
	}
	return func(ctx context.Context) error {
		err := unplug(ctx)
		if before == 0 {
			return errors.Join(err, in.SetLimit(ctx, path, 0))
		}
		return errors.Join(err, s.keepLimit(ctx, in.openedPool, in.rec.Name, path, before))
	}, nil
}

// plugLimited is plugDisks, with the rates of the disks, plugNICs and plugProxies.
func (s *System) plugLimited(ctx context.Context, in *lockedInstance, was, now map[string]map[string]string) (undo func(context.Context) error, err error) {
	var steps undoSteps
	for _, do := range []func() (func(context.Context) error, error){
		func() (func(context.Context) error, error) { return s.applyDiskLimits(in.rec.Name, was, now) },
		func() (func(context.Context) error, error) { return s.plugDisks(ctx, in.rec.Name, was, now) },
		func() (func(context.Context) error, error) { return s.plugNICs(ctx, in, was, now) },
	} {
		u, err := do()
		if err != nil {
			return nil, steps.failed(ctx, err)
		}
		steps.add(u)
	}
	// After the nics, whose addresses those with nat are for; also when it is taken back.
	u, err := s.plugProxies(ctx, in.rec.Name, was, now)
	if err != nil {
		return nil, steps.failed(ctx, err)
	}
	steps = append(undoSteps{u}, steps...)
	return steps.run, nil
}

// onlySizeDiffers says whether two root disks are the same but for the size and
// the rates.
func onlySizeDiffers(a, b map[string]string) bool {
	if !isRootDisk(a) || !isRootDisk(b) {
		return false
	}
	x, y := withoutDiskLimits(a), withoutDiskLimits(b)
	delete(x, "size")
	delete(y, "size")
	return maps.Equal(x, y)
}

// isPlugged says whether a device comes to and goes from an instance that runs: a
// disk, a device node, a nic, a proxy, or none at all.
func isPlugged(dev map[string]string) bool {
	return dev == nil || dev["type"] == "none" || isMounted(dev) || isNIC(dev) || isProxy(dev)
}
