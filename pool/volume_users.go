package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"poolctl/pool/tree"
)

// volumeUser is an instance or a profile with a device on a custom volume.
type volumeUser struct {
	instance string // "" for a profile
	profile  string // the profile itself, or the one that an instance has the device from
	device   string
	running  bool
	mounted  bool // it has no device, but has the volume mounted
}

func (u volumeUser) String() string {
	if u.instance == "" {
		return fmt.Sprintf("profile %s (device %s)", u.profile, u.device)
	}
	return fmt.Sprintf("instance %s (device %s)", u.instance, u.device)
}

// isVolumeDevice says whether a device is the custom volume of that pool.
func isVolumeDevice(dev map[string]string, pool, volume string) bool {
	return dev["type"] == "disk" && dev["path"] != "/" && dev["pool"] == pool && strings.TrimPrefix(dev["source"], "custom/") == volume
}

// volumeUsers finds who has a device on a custom volume: instances of the pools
// that are attached, and profiles.
func (s *System) volumeUsers(ctx context.Context, pool, volume string) ([]volumeUser, error) {
	all, err := s.volumeUsersIn(ctx, pool)
	return all[volume], err
}

// volumeUsersIn is volumeUsers of all volumes of a pool, by name.
func (s *System) volumeUsersIn(ctx context.Context, pool string) (map[string][]volumeUser, error) {
	out := map[string][]volumeUser{}
	add := func(devices map[string]map[string]string, u func(name string) volumeUser) {
		for _, name := range slices.Sorted(maps.Keys(devices)) {
			dev := devices[name]
			volume := strings.TrimPrefix(dev["source"], "custom/")
			if isVolumeDevice(dev, pool, volume) {
				out[volume] = append(out[volume], u(name))
			}
		}
	}
	instances, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range instances {
		add(in.ExpandedDevices, func(name string) volumeUser {
			return volumeUser{instance: in.Name, device: name, running: s.isRunning(in.Name), profile: s.deviceProfile(in, name)}
		})
	}
	if err := s.addMounted(pool, out); err != nil {
		return nil, err
	}
	profiles, err := s.profiles()
	if err != nil {
		return nil, err
	}
	for _, p := range profiles {
		add(p.Devices, func(name string) volumeUser { return volumeUser{profile: p.Name, device: name} })
	}
	return out, nil
}

// addMounted adds the running instances that have a volume mounted and no device
// on it (any more): one that a profile lost, or a command that was killed left.
func (s *System) addMounted(pool string, users map[string][]volumeUser) error {
	live, err := s.liveNames()
	if err != nil {
		return err
	}
	for _, name := range live {
		for _, d := range s.mountedDisks(name) {
			volume, ours := strings.CutPrefix(d.Volume, pool+"/")
			if !ours || slices.ContainsFunc(users[volume], func(u volumeUser) bool { return u.instance == name }) {
				continue
			}
			users[volume] = append(users[volume], volumeUser{instance: name, device: d.Device, running: true, mounted: true})
		}
	}
	return nil
}

// deviceProfile names the profile that an instance has a device from; "" for its
// own.
func (s *System) deviceProfile(in tree.Instance, device string) string {
	if _, own := in.Devices[device]; own {
		return ""
	}
	for _, name := range slices.Backward(in.Profiles) {
		p, err := s.profile(name)
		if err != nil {
			continue
		}
		if _, has := p.Devices[device]; has {
			return name
		}
	}
	return ""
}

// usedBy is the field of that name: Incus's paths of its users.
func usedBy(users []volumeUser) []string {
	out := []string{}
	for _, u := range users {
		path := "/1.0/instances/" + u.instance
		if u.instance == "" {
			path = "/1.0/profiles/" + u.profile
		}
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// checkNoUsers refuses a volume that has users, naming them.
func (s *System) checkNoUsers(ctx context.Context, pool, volume string) error {
	users, err := s.volumeUsers(ctx, pool, volume)
	if err != nil || len(users) == 0 {
		return err
	}
	var remedies []string
	for _, u := range users {
		switch {
		case u.instance == "":
			remedies = append(remedies, fmt.Sprintf("poolctl pool volume detach-profile %s %s %s", pool, volume, u.profile))
		case u.mounted:
			remedies = append(remedies, "poolctl stop "+u.instance)
		case u.profile == "":
			remedies = append(remedies, fmt.Sprintf("poolctl pool volume detach %s %s %s", pool, volume, u.instance))
		}
	}
	return withHint(fmt.Errorf("%w: by %s", ErrInUse, joinUsers(users)), "%s", strings.Join(remedies, "; "))
}

// checkNotRunning refuses a volume that running instances use, naming them.
func (s *System) checkNotRunning(ctx context.Context, pool, volume string) error {
	users, err := s.volumeUsers(ctx, pool, volume)
	if err != nil {
		return err
	}
	users = slices.DeleteFunc(users, func(u volumeUser) bool { return !u.running })
	if len(users) == 0 {
		return nil
	}
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.instance)
	}
	return withHint(fmt.Errorf("%w: by the running %s", ErrInUse, joinUsers(users)), "poolctl stop %s", strings.Join(names, " "))
}

func joinUsers(users []volumeUser) string {
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, u.String())
	}
	return strings.Join(names, ", ")
}

// checkUnseenUsers refuses a volume that an instance of a detached pool has a device
// on, or may have: the device would be left behind. The pools are attached for it.
func (s *System) checkUnseenUsers(ctx context.Context, pool, volume string) error {
	_, detached, err := s.poolNames()
	if err != nil {
		return err
	}
	for _, name := range detached {
		if name == pool {
			continue // open
		}
		user, err := s.userInDetached(ctx, name, pool, volume)
		switch {
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case err != nil:
			return fmt.Errorf("pool %s is detached, and whether an instance in it uses the volume cannot be seen: %w", name, err)
		case user != "":
			return withHint(fmt.Errorf("%w: by instance %s in pool %s, which is detached", ErrInUse, user, name), "poolctl pool attach %s", name)
		}
	}
	return nil
}

// checkUnseenBefore is checkUnseenUsers for a volume that must be there, before
// anything of it is locked: another pool may have to be attached, and whoever has
// that one may be waiting for this one.
func (s *System) checkUnseenBefore(ctx context.Context, pool, volume string) error {
	there, err := s.hasVolume(ctx, pool, volume)
	if err != nil {
		return err
	}
	if !there {
		if _, err := s.loadPool(pool); err != nil {
			return err
		}
		return volumeNotFound(pool, volume)
	}
	return s.checkUnseenUsers(ctx, pool, volume)
}

// userInDetached names an instance of a detached pool with a device on the volume.
// The pool is detached again.
func (s *System) userInDetached(ctx context.Context, name, pool, volume string) (user string, err error) {
	short, cancel := context.WithTimeout(ctx, 10*time.Second) // whoever has it for himself may wait for us
	defer cancel()
	p, err := s.openPool(short, name)
	if err != nil {
		return "", err
	}
	defer s.detachAgain(ctx, name)
	all, err := p.Instances(ctx)
	for _, in := range all {
		for _, dev := range in.ExpandedDevices {
			if isVolumeDevice(dev, pool, volume) {
				user = in.Name
			}
		}
	}
	return user, errors.Join(err, p.close())
}
