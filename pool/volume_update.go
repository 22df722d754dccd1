package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"poolctl/pool/tree"
)

// UpdateVolume changes the configuration and the description of a custom volume:
// change is given them as they are. A new size is in force at once, for running
// instances too; the security keys are refused while one uses the volume.
func (s *System) UpdateVolume(ctx context.Context, pool, name string, change func(*VolumePut) error) (err error) {
	v, err := s.lockVolume(ctx, pool, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	name = v.vol.Name
	if v.vol.Broken != nil {
		return fmt.Errorf("cannot change volume %s: %w", name, v.vol.Broken)
	}
	put := VolumePut{Config: maps.Clone(v.vol.Config), Description: v.vol.Description}
	if err := change(&put); err != nil {
		return err
	}
	if put.ExpiresAt != nil {
		return fmt.Errorf("cannot change volume %s: only snapshots expire", name)
	}
	maps.DeleteFunc(put.Config, func(_, value string) bool { return value == "" })
	withoutKeep(put.Config)
	if err := s.checkVolumeChange(ctx, pool, v.vol, put.Config); err != nil {
		return fmt.Errorf("cannot change volume %s: %w", name, err)
	}
	resized := put.Config["size"] != v.vol.Config["size"]
	if resized {
		if err := s.limitVolume(ctx, v.openedPool, name, v.VolumePath(name), put.Config, false); err != nil {
			return fmt.Errorf("cannot change volume %s: %w", name, err)
		}
	}
	_, err = v.UpdateVolume(name, func(vol *tree.Volume) error {
		vol.Config, vol.Description = put.Config, put.Description
		return nil
	})
	if err != nil && resized {
		err = errors.Join(err, s.limitVolume(context.WithoutCancel(ctx), v.openedPool, name, v.VolumePath(name), v.vol.Config, true))
	}
	return s.hintFull(v.rec, err)
}

// checkVolumeChange validates a new configuration.
func (s *System) checkVolumeChange(ctx context.Context, pool string, v tree.Volume, config map[string]string) error {
	changed := map[string]string{}
	for k, value := range config {
		if v.Config[k] != value {
			changed[k] = value
		}
	}
	// What another program put there stays: only what is changed is looked at.
	if err := checkVolumeConfig(changed); err != nil {
		return err
	}
	if err := checkInitial(v.Config, config); err != nil {
		return err
	}
	if isTrue(config["security.shifted"]) && isTrue(config["security.unmapped"]) {
		return errors.New("security.shifted and security.unmapped exclude each other")
	}
	for _, key := range []string{"security.shifted", "security.unmapped"} {
		if isTrue(config[key]) != isTrue(v.Config[key]) {
			if err := s.checkNotRunning(ctx, pool, v.Name); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	return nil
}

// UpdateVolumeSnapshot changes the description and the expiry of a snapshot of a
// custom volume.
func (s *System) UpdateVolumeSnapshot(ctx context.Context, pool, name, snap string, change func(*VolumePut) error) (err error) {
	v, err := s.lockVolume(ctx, pool, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	i := slices.IndexFunc(v.vol.Snapshots, func(sn tree.VolumeSnapshot) bool { return sn.Name == snap })
	if i < 0 {
		_, err := v.VolumeSnapshotPath(v.vol.Name, snap)
		return volumeSnapshotError(err, pool, v.vol.Name, snap)
	}
	was := v.vol.Snapshots[i]
	put := VolumePut{Config: maps.Clone(was.Config), Description: was.Description, ExpiresAt: publicVolumeSnapshot(was).ExpiresAt}
	if err := change(&put); err != nil {
		return err
	}
	if !maps.Equal(put.Config, was.Config) {
		return withHint(fmt.Errorf("cannot change snapshot %s/%s: its configuration is that of the volume at its time", v.vol.Name, snap), "the description and expires_at can be changed")
	}
	_, err = v.UpdateVolume(v.vol.Name, func(vol *tree.Volume) error {
		for i := range vol.Snapshots {
			if sn := &vol.Snapshots[i]; sn.Name == snap {
				sn.Description, sn.ExpiresAt = put.Description, orZero(put.ExpiresAt)
			}
		}
		return nil
	})
	return err
}
