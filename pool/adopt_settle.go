package pool

import (
	"context"
	"errors"
	"io/fs"
	"maps"

	"poolctl/pool/crash"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// settle adapts the instances of a pool that has just been adopted to where they
// are now, under the pool's exclusive lock. It may be repeated. An instance that
// cannot be adapted, as in a pool that is full, is told of and left as it is.
func (s *System) settle(ctx context.Context, in adopting) error {
	rec, err := s.loadPool(in.Name)
	if err != nil {
		return err
	}
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	if err := t.Recover(ctx); err != nil {
		s.notice(err.Error())
	}
	for _, from := range sortedKeys(in.Rename) {
		if err := t.RenameInstance(from, in.Rename[from]); err != nil {
			return err
		}
	}
	about, err := aboutPool(ctx, t, in.Former)
	if err != nil {
		return err
	}
	unlock, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	home, err := s.newHome(rec, in.Former)
	if err != nil {
		return err
	}
	s.settleVolumes(t, about)
	for _, inst := range about.instances {
		if inst.Broken != nil {
			continue
		}
		if err := s.addProfiles(ctx, inst.ProfileInfo, home); err != nil {
			return err
		}
		crash.Point("pool.adopt.profiles")
		err := t.AdaptInstance(inst.Name, func(i *tree.Instance) (bool, error) { return true, s.settleInstance(i, home) })
		if err != nil {
			s.noticef("what %s says of its profiles, devices and pool is as it was, disks of the host's with it: %s", inst.Name, err)
		}
		crash.Point("pool.adopt.adapted")
	}
	return nil
}

// settleInstance adapts one instance and what it says of its snapshots.
func (s *System) settleInstance(i *tree.Instance, home newHome) error {
	adapted, err := home.adapt(settings{i.Profiles, i.Config, i.Devices, i.ExpandedConfig, i.ExpandedDevices})
	if err != nil {
		return err
	}
	for _, note := range adapted.notes {
		s.noticef("%s: %s", i.Name, note)
	}
	told := map[string]bool{}
	tell := func(where string, had, now map[string]map[string]string) {
		for _, name := range hiddenDisks(now) {
			if had[name]["type"] != "none" && !told[name] {
				s.noticeHidden(where, i.Name, name, now[name])
				told[name] = true
			}
		}
	}
	tell(i.Name, i.ExpandedDevices, adapted.expandedDevices)
	s.noticeHiddenKeys(i.Name, "poolctl config set "+shellWord(i.Name), i.Config, adapted.config)
	i.Profiles, i.Config, i.Devices = adapted.profiles, adapted.config, adapted.devices
	i.ExpandedConfig, i.ExpandedDevices = adapted.expandedConfig, adapted.expandedDevices
	for _, config := range []map[string]string{i.Config, i.ExpandedConfig} {
		if config[powerKey] != "" {
			config[powerKey] = "STOPPED" // whatever it was there
		}
	}
	i.Pool = poolInfo(home.pool)
	if i.ProfileInfo, err = profileInfo(s.profile, i.Profiles); err != nil {
		return err
	}
	for n := range i.Snapshots {
		sn := &i.Snapshots[n]
		adapted, err := home.adapt(settings{sn.Profiles, sn.Config, sn.Devices, sn.ExpandedConfig, sn.ExpandedDevices})
		if err != nil {
			return err
		}
		tell(i.Name+"/"+sn.Name, sn.ExpandedDevices, adapted.expandedDevices)
		sn.Profiles, sn.Config, sn.Devices = adapted.profiles, adapted.config, adapted.devices
		sn.ExpandedConfig, sn.ExpandedDevices = adapted.expandedConfig, adapted.expandedDevices
	}
	return nil
}

// addProfiles makes those profiles that are not here. One that is here stays as
// it is, the default one too.
func (s *System) addProfiles(ctx context.Context, infos []tree.ProfileInfo, home newHome) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, info := range infos {
		if state.ValidateName("profile", info.Name) != nil {
			continue // what it says is in the instance's expanded configuration too
		}
		_, err := s.dir.LoadProfile(info.Name)
		if err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		p := state.Profile{Name: info.Name, Description: info.Description, Config: maps.Clone(info.Config), Devices: map[string]map[string]string{}}
		if p.Config == nil {
			p.Config = map[string]string{}
		}
		hideKeys(p.Config)
		for name, dev := range info.Devices {
			p.Devices[name], _ = home.device(dev, nil)
		}
		if err := s.dir.SaveProfile(p); err != nil {
			return err
		}
		s.noticef("profile %s is new here", p.Name)
		s.noticeHiddenKeys("profile "+p.Name, "poolctl profile set "+shellWord(p.Name), info.Config, p.Config)
		for _, name := range hiddenDisks(p.Devices) {
			if other := otherType(p.Devices[name]); other != "" {
				s.noticef("profile %s: device %s is hidden, because there are no devices of type %s here", p.Name, shellWord(name), shellWord(other))
				continue
			}
			source, _ := hiddenPlaces(p.Devices[name])
			s.noticef("profile %s: device %s is hidden, because it is %s of the host", p.Name, shellWord(name), shellWord(source))
		}
	}
	return nil
}

// newHome says what is where the instances are now.
func (s *System) newHome(rec state.PoolRecord, former string) (newHome, error) {
	h := newHome{pool: rec, former: former, expand: s.expand}
	h.hasProfile = func(name string) bool {
		_, err := s.profile(name)
		return err == nil
	}
	h.hasNetwork = func(name string) bool {
		_, err := s.dir.LoadNetwork(name)
		return err == nil
	}
	def, err := s.profile(defaultProfile)
	if err != nil {
		return h, err
	}
	for _, name := range sortedKeys(def.Devices) {
		if b := nicBridge(def.Devices[name]); b != "" && h.hasNetwork(b) && h.network == "" {
			h.network = b
		}
	}
	return h, nil
}
