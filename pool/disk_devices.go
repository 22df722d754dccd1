package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/pool/state"
	"poolctl/runtime"
)

// isDisk says whether a device is a disk besides the root disk: a custom volume,
// or a directory or file of the host's.
func isDisk(dev map[string]string) bool { return dev["type"] == "disk" && dev["path"] != "/" }

// diskKeys are the keys that such a disk can have.
var diskKeys = []string{"pool", "source", "path", "readonly", "recursive", "propagation", "shift", "required", "optional", "limits.read", "limits.write", "limits.max"}

// checkDisk validates the configuration of such a disk.
func checkDisk(dev map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(dev)) {
		if k != "type" && !isUserKey(k) && !slices.Contains(diskKeys, k) {
			return withHint(fmt.Errorf("unknown key %q", k), "the keys of a disk are %s", strings.Join(diskKeys, ", "))
		}
	}
	for _, k := range []string{"readonly", "recursive", "shift", "required", "optional"} {
		if v := dev[k]; v != "" {
			if err := checkBool(v); err != nil {
				return fmt.Errorf("%s=%s: %w", k, v, err)
			}
		}
	}
	if err := checkDiskLimits(dev); err != nil {
		return err
	}
	if err := runtime.CheckPropagation(dev["propagation"]); err != nil {
		return fmt.Errorf("propagation=%w", err)
	}
	path := dev["path"]
	switch {
	case !filepath.IsAbs(path), filepath.Clean(path) == "/", strings.ContainsAny(path, "\x00\n"):
		return withHint(fmt.Errorf("path %q is not one in an instance", path), "an absolute path: path=/srv/data")
	case dev["source"] == "":
		return withHint(errors.New("it has no source"), "source=VOLUME with pool=POOL, or source=/PATH/ON/THE/HOST")
	case dev["pool"] == "" && !filepath.IsAbs(dev["source"]):
		return withHint(fmt.Errorf("source %q is neither a path on the host nor in a pool", dev["source"]), "pool=POOL names the pool of a volume")
	case dev["pool"] != "" && isTrue(dev["recursive"]):
		return errors.New("recursive is for a directory of the host's")
	}
	return nil
}

// diskDevice is a disk of an instance that is about to be mounted.
type diskDevice struct {
	name string
	dev  map[string]string
}

// disksOf are the disks and device nodes among devices, those of volumes in an order that is the
// same for everybody who locks them.
func disksOf(devices map[string]map[string]string) []diskDevice {
	var out []diskDevice
	for _, n := range slices.Sorted(maps.Keys(devices)) {
		if isMounted(devices[n]) {
			out = append(out, diskDevice{n, devices[n]})
		}
	}
	slices.SortStableFunc(out, func(a, b diskDevice) int {
		return strings.Compare(a.dev["pool"]+"/"+a.dev["source"], b.dev["pool"]+"/"+b.dev["source"])
	})
	return out
}

// mountable says what the runtime is to mount for disks. Until release, pools and
// volumes are held: nobody replaces a volume that is about to be mounted. A disk
// whose source is missing is left out when it is not required.
func (s *System) mountable(ctx context.Context, disks []diskDevice) (out []runtime.Disk, release func() error, err error) {
	var held []func() error
	release = func() error {
		var errs []error
		for _, h := range slices.Backward(held) {
			errs = append(errs, h())
		}
		return errors.Join(errs...)
	}
	locked := map[string]bool{}
	for _, d := range disks {
		var one runtime.Disk
		if isUnixDevice(d.dev) {
			if err = checkUnixDevice(d.dev); err == nil {
				one, err = nodeDisk(d)
			}
		} else if err = checkDisk(d.dev); err == nil && d.dev["pool"] != "" {
			var hold func() error
			one, hold, err = s.volumeDisk(ctx, d, locked)
			if hold != nil {
				held = append(held, hold)
			}
		} else if err == nil {
			one, err = hostDisk(d)
		}
		if err != nil && !isRequired(d.dev) && (errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist)) {
			s.noticef("%s %s is left out: %s", d.dev["type"], d.name, err)
			continue
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("device %s: %w", d.name, err), release())
		}
		out = append(out, one)
	}
	return out, release, nil
}

// isRequired says whether an instance is not to start without what a device is of:
// unless it has required=false, or its older name optional=true, as in Incus.
func isRequired(dev map[string]string) bool {
	return (dev["required"] == "" || isTrue(dev["required"])) && !isTrue(dev["optional"])
}

// volumeDisk is the disk of a custom volume. Owners inside are as they are on the
// disk, as in the root, unless security.unmapped is set: so several instances can
// have one volume.
func (s *System) volumeDisk(ctx context.Context, d diskDevice, locked map[string]bool) (out runtime.Disk, hold func() error, err error) {
	pool, name := d.dev["pool"], customName(d.dev["source"])
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return out, nil, err
	}
	if _, err := p.Volume(name); err != nil { // before a lock of that name is made
		return out, nil, errors.Join(volumeError(err, pool, name), p.close())
	}
	unlock := state.Unlock(func() {})
	if ref := pool + "/" + name; !locked[ref] {
		if unlock, err = s.dir.LockVolume(ctx, pool, name); err != nil {
			return out, nil, errors.Join(err, p.close())
		}
		locked[ref] = true
	}
	hold = func() error { unlock(); return p.close() }
	v, err := p.Volume(name)
	if err != nil {
		return out, hold, volumeError(err, pool, name)
	}
	out = runtime.Disk{
		Device: d.name, Source: p.VolumePath(name), Path: d.dev["path"], ReadOnly: isTrue(d.dev["readonly"]), Propagation: d.dev["propagation"],
		Mapped: !isTrue(v.Config["security.unmapped"]), Volume: pool + "/" + name,
	}
	out.Shifted, err = volumeShift(v.Config)
	return out, hold, err
}

// hostDisk is the disk of a directory or file of the host's.
func hostDisk(d diskDevice) (runtime.Disk, error) {
	fi, err := os.Stat(d.dev["source"])
	if err != nil {
		return runtime.Disk{}, err
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return runtime.Disk{}, withHint(fmt.Errorf("%s is neither a directory nor a file", d.dev["source"]), "a device of type unix-block gives it a block device")
	}
	return runtime.Disk{
		Device: d.name, Source: d.dev["source"], Path: d.dev["path"], ReadOnly: isTrue(d.dev["readonly"]), Propagation: d.dev["propagation"],
		Recursive: isTrue(d.dev["recursive"]), Mapped: isTrue(d.dev["shift"]),
	}, nil
}

// plugDisks makes a change of the devices of an instance effective, as far as
// disks besides the root disk, and device nodes, are concerned, and returns how to take it back.
// They are mounted and unmounted in an instance that runs; of one that does not,
// they are checked.
func (s *System) plugDisks(ctx context.Context, instance string, was, now map[string]map[string]string) (undo func(context.Context) error, err error) {
	var gone, come []diskDevice
	for _, d := range disksOf(was) {
		if !sameMount(d.dev, now[d.name]) {
			gone = append(gone, d)
		}
	}
	for _, d := range disksOf(now) {
		if !sameMount(d.dev, was[d.name]) {
			come = append(come, d)
		}
	}
	if len(gone)+len(come) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	mounts, release, err := s.mountable(ctx, come)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	in, err := s.runningInstance(instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return func(context.Context) error { return nil }, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return s.replug(ctx, in, instance, gone, mounts)
}

// sameMount says whether two disks are mounted the same.
func sameMount(a, b map[string]string) bool {
	return maps.Equal(withoutDiskLimits(a), withoutDiskLimits(b))
}

// replug unmounts disks of a running instance and mounts others.
func (s *System) replug(ctx context.Context, in *runtime.Instance, instance string, gone []diskDevice, mounts []runtime.Disk) (undo func(context.Context) error, err error) {
	had, err := in.Disks()
	if err != nil {
		return nil, err
	}
	var steps undoSteps
	for _, d := range gone {
		if err := in.DetachDisk(d.name); err != nil {
			if errors.Is(err, runtime.ErrDiskBusy) {
				err = withHint(err, "end what uses it inside, or stop the instance: poolctl stop %s", instance)
			}
			return nil, steps.failed(ctx, err)
		}
		if i := slices.IndexFunc(had, func(h runtime.Disk) bool { return h.Device == d.name }); i >= 0 {
			steps.add(s.ifRunning(instance, func(ctx context.Context, in *runtime.Instance) error { return in.AttachDisk(ctx, had[i]) }))
		}
	}
	for _, d := range mounts {
		if slices.Contains(had, d) { // a command that was killed had got as far
			continue
		}
		if err := in.AttachDisk(ctx, d); err != nil {
			return nil, steps.failed(ctx, err)
		}
		steps.add(s.ifRunning(instance, func(_ context.Context, in *runtime.Instance) error { return in.DetachDisk(d.Device) }))
	}
	return steps.run, nil
}
