package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"poolctl/pool/state"
)

// defaultProfile is the profile that new instances get.
const defaultProfile = "default"

// profiles lists the profiles; "default" is there from the start, empty.
func (s *System) profiles() ([]state.Profile, error) {
	names, err := s.dir.ListProfiles()
	if err != nil {
		return nil, err
	}
	out := make([]state.Profile, 0, len(names))
	for _, n := range names {
		p, err := s.dir.LoadProfile(n)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// profile loads one profile.
func (s *System) profile(name string) (state.Profile, error) {
	p, err := s.dir.LoadProfile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if name == defaultProfile {
			return state.Profile{Name: name, Description: "Default profile", Config: map[string]string{}, Devices: map[string]map[string]string{}}, nil
		}
		return p, fmt.Errorf("cannot find profile %q: %w", name, ErrNotFound)
	}
	return p, err
}

// expand lays the instance's own config and devices over its profiles', the
// later winning, as Incus does.
func (s *System) expand(names []string, config map[string]string, devices map[string]map[string]string) (map[string]string, map[string]map[string]string, error) {
	outConfig, outDevices := map[string]string{}, map[string]map[string]string{}
	for _, n := range names {
		p, err := s.profile(n)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(outConfig, p.Config)
		maps.Copy(outDevices, p.Devices)
	}
	maps.Copy(outConfig, config)
	maps.Copy(outDevices, devices)
	return outConfig, outDevices, nil
}

// setProfileDevice puts a device into a profile, unless one of that name is there.
func (s *System) setProfileDevice(ctx context.Context, profile, device string, dev map[string]string) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := s.profile(profile)
	if err != nil {
		return err
	}
	if p.Devices == nil {
		p.Devices = map[string]map[string]string{}
	}
	if _, taken := p.Devices[device]; taken {
		return nil
	}
	p.Devices[device] = dev
	return s.dir.SaveProfile(p)
}

// dropFromProfiles removes the devices that match from every profile, under the
// caller's lock of the state.
func (s *System) dropFromProfiles(match func(dev map[string]string) bool) error {
	all, err := s.profiles()
	if err != nil {
		return err
	}
	for _, p := range all {
		before := len(p.Devices)
		maps.DeleteFunc(p.Devices, func(_ string, dev map[string]string) bool { return match(dev) })
		if len(p.Devices) != before {
			if err := s.dir.SaveProfile(p); err != nil {
				return err
			}
		}
	}
	return nil
}
