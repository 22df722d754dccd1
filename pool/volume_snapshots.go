package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"poolctl/pool/tree"
)

// CreateVolumeSnapshot makes a read-only snapshot of a custom volume, in use or
// not, and returns its name.
func (s *System) CreateVolumeSnapshot(ctx context.Context, o VolumeSnapshotOptions) (name string, err error) {
	now := time.Now().UTC()
	if _, err := parseExpiry(o.Expiry, now); err != nil {
		return "", err
	}
	if o.Name != "" {
		if err := tree.ValidateSnapshotName(o.Name); err != nil {
			return "", fmt.Errorf("cannot create snapshot %q: %w", o.Name, err)
		}
	}
	v, err := s.lockVolume(ctx, o.Pool, o.Volume)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	s.dropExpired(ctx, v)
	return s.snapshotVolume(ctx, v, o, now)
}

// snapshotVolume is CreateVolumeSnapshot of a locked volume.
func (s *System) snapshotVolume(ctx context.Context, v *lockedVolume, o VolumeSnapshotOptions, now time.Time) (name string, err error) {
	expires, err := parseExpiry(o.Expiry, now)
	if err != nil {
		return "", err
	}
	if span := v.vol.Config[snapshotExpiryKey]; expires.IsZero() && !o.NoExpiry && span != "" {
		if err := checkExpiry(span); err != nil {
			return "", fmt.Errorf("cannot create a snapshot of volume %s: snapshots.expiry: %w", v.vol.Name, err)
		}
		expires = addExpiry(now, span)
	}
	if name = o.Name; name == "" {
		if name, err = nextSnapshotName(ctx, v.vol.Config[snapshotPatternKey], now, snapshotNames(v.vol)); err != nil {
			return "", fmt.Errorf("cannot create a snapshot of volume %s: %w", v.vol.Name, err)
		}
	}
	sn := tree.VolumeSnapshot{Name: name, Description: o.Description, Config: v.vol.Config, CreatedAt: now, ExpiresAt: expires}
	if o.scheduled {
		sn.Config = maps.Clone(sn.Config)
		sn.Config[tree.ScheduledKey] = "true"
	}
	taken := slices.ContainsFunc(v.vol.Snapshots, func(sn tree.VolumeSnapshot) bool { return sn.Name == name })
	if taken && o.Reuse {
		return name, s.hintFull(v.rec, s.withRoom(ctx, v.openedPool, "a snapshot", func() error { return v.ReplaceVolumeSnapshot(ctx, v.vol.Name, sn) }))
	}
	err = s.withRoom(ctx, v.openedPool, "a snapshot", func() error { return v.CreateVolumeSnapshot(ctx, v.vol.Name, sn) })
	if errors.Is(err, fs.ErrExist) {
		err = withHint(fmt.Errorf("cannot create snapshot %s/%s: %w", v.vol.Name, name, ErrExists), "--reuse replaces it")
	}
	return name, s.hintFull(v.rec, err)
}

// VolumeSnapshots lists the snapshots of a custom volume, oldest first.
func (s *System) VolumeSnapshots(ctx context.Context, pool, volume string) (out []VolumeSnapshot, err error) {
	v, err := s.lockVolume(ctx, pool, volume)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	s.dropExpired(ctx, v)
	out = []VolumeSnapshot{}
	for _, sn := range v.vol.Snapshots {
		out = append(out, publicVolumeSnapshot(sn))
	}
	return out, nil
}

// VolumeSnapshot shows one snapshot of a custom volume.
func (s *System) VolumeSnapshot(ctx context.Context, pool, volume, snap string) (VolumeSnapshot, error) {
	all, err := s.VolumeSnapshots(ctx, pool, volume)
	if err != nil {
		return VolumeSnapshot{}, err
	}
	for _, sn := range all {
		if sn.Name == snap {
			return sn, nil
		}
	}
	return VolumeSnapshot{}, volumeSnapshotError(fs.ErrNotExist, pool, customName(volume), snap)
}

// RenameVolumeSnapshot gives a snapshot of a custom volume another name.
func (s *System) RenameVolumeSnapshot(ctx context.Context, pool, volume, from, to string) (err error) {
	v, err := s.lockVolume(ctx, pool, volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	err = v.RenameVolumeSnapshot(v.vol.Name, from, to)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot rename snapshot %s/%s to %s: %w", v.vol.Name, from, to, ErrExists)
	}
	return volumeSnapshotError(s.hintFull(v.rec, err), pool, v.vol.Name, from)
}

// DeleteVolumeSnapshot deletes a snapshot of a custom volume for good.
func (s *System) DeleteVolumeSnapshot(ctx context.Context, pool, volume, snap string) error {
	return s.deleteVolumeSnapshot(ctx, pool, volume, snap, forGood)
}

func (s *System) deleteVolumeSnapshot(ctx context.Context, pool, volume, snap string, how disposal) (err error) {
	v, err := s.lockVolume(ctx, pool, volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	err = s.dispose(ctx, v.openedPool, "snapshot "+v.vol.Name+"/"+snap, tree.Doomed{Kind: tree.KindVolume, Name: v.vol.Name, Snapshot: snap}, how,
		func(ctx context.Context) error { return v.TrashVolumeSnapshot(ctx, v.vol.Name, snap) },
		func(ctx context.Context) error { return v.DeleteVolumeSnapshot(ctx, v.vol.Name, snap) })
	return volumeSnapshotError(err, pool, v.vol.Name, snap)
}

// RestoreVolumeOptions are the arguments of RestoreVolume.
type RestoreVolumeOptions struct {
	Pool, Volume, Snapshot string
	// Keep leaves the present state as a new snapshot, named as one without a name.
	Keep bool
}

// RestoreVolume brings a custom volume back to a snapshot. Its configuration
// stays, its limit too. It is refused while running instances use the volume.
// The present state is kept until the restored one has taken its place, and with
// Keep as a snapshot, of which a notice tells.
func (s *System) RestoreVolume(ctx context.Context, o RestoreVolumeOptions) (err error) {
	v, err := s.lockVolume(ctx, o.Pool, o.Volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := s.checkNotRunning(ctx, o.Pool, v.vol.Name); err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", v.vol.Name, o.Snapshot, err)
	}
	if _, err := v.VolumeSnapshotPath(v.vol.Name, o.Snapshot); err != nil {
		return volumeSnapshotError(err, o.Pool, v.vol.Name, o.Snapshot)
	}
	if err := s.needSpace(ctx, v.rec, sharingNeed("restoring it")); err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", v.vol.Name, o.Snapshot, err)
	}
	if o.Keep {
		err = s.restoreVolumeKeeping(ctx, v, o.Snapshot)
	} else {
		err = s.restoreVolume(ctx, v, o.Snapshot)
	}
	return volumeSnapshotError(s.hintFull(v.rec, err), o.Pool, v.vol.Name, o.Snapshot)
}

func (s *System) restoreVolume(ctx context.Context, v *lockedVolume, snap string) error {
	return v.RestoreVolume(ctx, v.vol.Name, snap, func(path string) error {
		return s.limitVolume(ctx, v.openedPool, v.vol.Name, path, v.vol.Config, true)
	})
}

// restoreVolumeKeeping is restoreVolume that leaves the present state as a snapshot.
func (s *System) restoreVolumeKeeping(ctx context.Context, v *lockedVolume, snap string) error {
	name, now := v.vol.Name, time.Now().UTC()
	kept, err := nextSnapshotName(ctx, v.vol.Config[snapshotPatternKey], now, snapshotNames(v.vol))
	if err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
	}
	err = v.KeepVolume(ctx, name, kept, func() error {
		if _, err := s.snapshotVolume(ctx, v, VolumeSnapshotOptions{Name: kept, NoExpiry: true}, now); err != nil {
			return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
		}
		return nil
	}, func() error { return s.restoreVolume(ctx, v, snap) })
	if err == nil {
		s.noticef("what volume %s was is kept as its snapshot %s", name, kept)
	}
	return err
}
