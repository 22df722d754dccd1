package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolctl/pool/tree"
)

// AttachVolumeOptions are the arguments of AttachVolume and its companions.
type AttachVolumeOptions struct {
	Pool, Volume string
	Target       string // the instance or the profile
	Device       string // "" = called as the volume
	Path         string // in the instance; of an attachment only
}

// device is the device that the attachment makes.
func (o AttachVolumeOptions) device() (name string, dev map[string]string) {
	volume := customName(o.Volume)
	if name = o.Device; name == "" {
		name = volume
	}
	return name, map[string]string{"type": "disk", "pool": o.Pool, "source": volume, "path": o.Path}
}

// checkAttach refuses a device that is none, and a volume that is not there.
func (s *System) checkAttach(ctx context.Context, name string, dev map[string]string) error {
	if err := checkDeviceName(name); err != nil {
		return withHint(err, "name one: poolctl pool volume attach POOL VOLUME INSTANCE DEVICE PATH")
	}
	if err := checkDisk(dev); err != nil {
		return err
	}
	there, err := s.hasVolume(ctx, dev["pool"], dev["source"])
	if err == nil && !there {
		err = volumeNotFound(dev["pool"], dev["source"])
	}
	return err
}

// AttachVolume gives an instance a disk that is a custom volume. In an instance
// that runs it is mounted at once.
func (s *System) AttachVolume(ctx context.Context, o AttachVolumeOptions) error {
	name, dev := o.device()
	if err := s.checkAttach(ctx, name, dev); err != nil {
		return fmt.Errorf("cannot attach volume %s to %s: %w", dev["source"], o.Target, err)
	}
	return s.changeDevices(ctx, o.Target, func(in tree.Instance) (map[string]map[string]string, error) {
		if _, taken := in.ExpandedDevices[name]; taken {
			return nil, fmt.Errorf("device %s: %w", name, ErrExists)
		}
		devices := cloneDevices(in.Devices)
		devices[name] = dev
		return devices, nil
	})
}

// DetachVolume takes a custom volume away from an instance. From one that runs it
// is unmounted first, which is refused while something inside uses it.
func (s *System) DetachVolume(ctx context.Context, o AttachVolumeOptions) error {
	return s.changeDevices(ctx, o.Target, func(in tree.Instance) (map[string]map[string]string, error) {
		devices := cloneDevices(in.Devices)
		name, err := attachedAs(o, devices)
		if errors.Is(err, ErrNotFound) {
			if n, ierr := attachedAs(o, in.ExpandedDevices); ierr == nil {
				return nil, checkOwnDevice(in, n)
			}
		}
		delete(devices, name)
		return devices, err
	})
}

// attachedAs names the device that is the volume.
func attachedAs(o AttachVolumeOptions, devices map[string]map[string]string) (string, error) {
	volume := customName(o.Volume)
	var found []string
	for _, n := range slices.Sorted(maps.Keys(devices)) {
		if isVolumeDevice(devices[n], o.Pool, volume) && (o.Device == "" || o.Device == n) {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", withHint(fmt.Errorf("%d devices are the volume: %s", len(found), strings.Join(found, ", ")), "name one of them")
	}
	return "", fmt.Errorf("no device of it is the volume: %w", ErrNotFound)
}

// AttachVolumeProfile gives a profile a disk that is a custom volume. In instances
// that run it is mounted at once.
func (s *System) AttachVolumeProfile(ctx context.Context, o AttachVolumeOptions) error {
	name, dev := o.device()
	err := s.checkAttach(ctx, name, dev)
	if err == nil {
		err = s.UpdateProfile(ctx, o.Target, func(p *ProfilePut) error {
			if have, taken := p.Devices[name]; taken && !maps.Equal(have, dev) {
				return fmt.Errorf("device %s: %w", name, ErrExists)
			}
			p.Devices[name] = dev
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("cannot attach volume %s to profile %s: %w", dev["source"], o.Target, err)
	}
	return nil
}

// DetachVolumeProfile takes a custom volume away from a profile. From instances that
// run it is unmounted first, which is refused while something inside uses it.
func (s *System) DetachVolumeProfile(ctx context.Context, o AttachVolumeOptions) error {
	err := s.UpdateProfile(ctx, o.Target, func(p *ProfilePut) error {
		name, err := attachedAs(o, p.Devices)
		delete(p.Devices, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot detach volume %s from profile %s: %w", customName(o.Volume), o.Target, err)
	}
	return nil
}
