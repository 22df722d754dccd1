package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"poolctl/pool/state"
	"poolctl/pool/tree"
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
	return expandWith(s.profile, names, config, devices)
}

// expandWith is expand with the profiles that find has.
func expandWith(find func(name string) (state.Profile, error), names []string, config map[string]string, devices map[string]map[string]string) (map[string]string, map[string]map[string]string, error) {
	outConfig, outDevices := map[string]string{}, map[string]map[string]string{}
	for _, n := range names {
		p, err := find(n)
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

// reexpand has a record say what its pool and its profiles are now, and what the
// instance has of them. It changes nothing when one of the profiles is not here.
func (s *System) reexpand(r *tree.Instance) error {
	if err := reexpandWith(s.profile, r); err != nil {
		return err
	}
	if r.Pool == nil { // it is not to be written
		return nil
	}
	rec, err := s.dir.LoadPool(r.Pool.Name)
	if err == nil {
		r.Pool = poolInfo(rec)
	}
	return nil // the pool may have another name here
}

// reexpandKnown is reexpand for an instance that may have a profile that is not here,
// because its pool comes from another machine, or the profile was deleted while the
// instance was in the trash or a snapshot: it stays as it was expanded last, and it is
// told once.
func (s *System) reexpandKnown(r *tree.Instance) error {
	err := s.reexpand(r)
	if errors.Is(err, ErrNotFound) && len(r.ExpandedDevices) > 0 {
		text := fmt.Sprintf("%s keeps what its profiles said last: %s", r.Name, err)
		if _, told := s.toldOfProfiles.LoadOrStore(text, true); !told {
			s.notice(text)
		}
		return nil
	}
	return err
}

func reexpandWith(find func(name string) (state.Profile, error), r *tree.Instance) error {
	config, devices, err := expandWith(find, r.Profiles, r.Config, r.Devices)
	if err != nil {
		return err
	}
	infos, err := profileInfo(find, r.Profiles)
	if err != nil {
		return err
	}
	r.ExpandedConfig, r.ExpandedDevices, r.ProfileInfo = config, devices, infos
	return nil
}

// profileInfo is what an instance's record tells LXD of its profiles.
func profileInfo(find func(name string) (state.Profile, error), names []string) ([]tree.ProfileInfo, error) {
	out := []tree.ProfileInfo{}
	for _, n := range names {
		p, err := find(n)
		if err != nil {
			return nil, err
		}
		out = append(out, tree.ProfileInfo{Name: p.Name, Description: p.Description, Config: p.Config, Devices: p.Devices, UsedBy: []string{}})
	}
	return out, nil
}

// checkProfiles refuses a list of profiles of an instance with one that is not here,
// or twice.
func (s *System) checkProfiles(names []string) error {
	for i, n := range names {
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("profile %s is given twice", n)
		}
		if _, err := s.profile(n); err != nil {
			return withHint(err, "poolctl profile list shows them")
		}
	}
	return nil
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
