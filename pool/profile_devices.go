package pool

import (
	"context"
	"fmt"
)

// AddProfileDevice gives a profile a device: config has its type and keys. One of
// that name is refused.
func (s *System) AddProfileDevice(ctx context.Context, profile, device string, config map[string]string) error {
	return s.UpdateProfile(ctx, profile, func(p *ProfilePut) error {
		if _, there := p.Devices[device]; there {
			return fmt.Errorf("device %s: %w", device, ErrExists)
		}
		p.Devices[device] = withoutEmpty(config)
		return nil
	})
}

// SetProfileDevice changes keys of a profile's device; a key with "" is unset.
func (s *System) SetProfileDevice(ctx context.Context, profile, device string, config map[string]string) error {
	return s.UpdateProfile(ctx, profile, func(p *ProfilePut) error {
		if err := checkProfileDevice(*p, profile, device); err != nil {
			return err
		}
		p.Devices = overrideDevice(p.Devices, p.Devices, device, config)
		return nil
	})
}

// RemoveProfileDevice takes devices from a profile, all or none.
func (s *System) RemoveProfileDevice(ctx context.Context, profile string, devices ...string) error {
	return s.UpdateProfile(ctx, profile, func(p *ProfilePut) error {
		for _, d := range devices {
			if err := checkProfileDevice(*p, profile, d); err != nil {
				return err
			}
			delete(p.Devices, d)
		}
		return nil
	})
}

// ProfileDevice is a device of a profile, for reading.
func (s *System) ProfileDevice(_ context.Context, profile, device string) (map[string]string, error) {
	p, err := s.profile(profile)
	if err == nil {
		err = checkProfileDevice(putOfProfile(p), profile, device)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read device %s of profile %s: %w", device, profile, err)
	}
	return p.Devices[device], nil
}

func checkProfileDevice(p ProfilePut, profile, device string) error {
	if _, there := p.Devices[device]; !there {
		return withHint(fmt.Errorf("device %s: %w", device, ErrNotFound), "poolctl profile device list %s shows its devices", profile)
	}
	return nil
}

// ProfileValue is the value of a key of a profile's configuration, "" when it is not
// set. A key that there is not is an error.
func (s *System) ProfileValue(_ context.Context, profile, key string) (string, error) {
	p, err := s.profile(profile)
	if err != nil {
		return "", err
	}
	value, set := p.Config[key]
	if _, err := findInstanceKey(key); err != nil && !set {
		return "", fmt.Errorf("cannot read %s of profile %s: %w", shellWord(key), profile, err)
	}
	return value, nil
}

// AddProfile lets an instance use a profile, after those that it uses.
func (s *System) AddProfile(ctx context.Context, instance, profile string) error {
	return s.UpdateInstance(ctx, instance, func(put *InstancePut) error {
		put.Profiles = append(put.Profiles, profile)
		return nil
	})
}

// RemoveProfile takes a profile from an instance.
func (s *System) RemoveProfile(ctx context.Context, instance, profile string) error {
	return s.UpdateInstance(ctx, instance, func(put *InstancePut) error {
		out := []string{}
		for _, p := range put.Profiles {
			if p != profile {
				out = append(out, p)
			}
		}
		if len(out) == len(put.Profiles) {
			return fmt.Errorf("it does not use profile %s", profile)
		}
		put.Profiles = out
		return nil
	})
}

// AssignProfiles has an instance use those profiles, the later ones winning, and no
// others.
func (s *System) AssignProfiles(ctx context.Context, instance string, profiles []string) error {
	return s.UpdateInstance(ctx, instance, func(put *InstancePut) error {
		put.Profiles = append([]string{}, profiles...)
		return nil
	})
}
