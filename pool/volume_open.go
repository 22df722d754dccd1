package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"poolctl/pool/tree"
)

// customName takes the name of a custom volume as a user may write it, with its
// type before it.
func customName(ref string) string { return strings.TrimPrefix(ref, volumeCustom+"/") }

// volumeNotFound is the error about a volume, or a snapshot of one, that is not there.
func volumeNotFound(pool, ref string) error {
	return withHint(fmt.Errorf("cannot find volume %q in pool %s: %w", ref, pool, ErrNotFound), "poolctl pool volume list %s shows them", pool)
}

// lockedVolume is a custom volume with its own lock and its pool's shared lock held.
type lockedVolume struct {
	*openedPool
	vol    tree.Volume
	unlock func()
}

func (l *lockedVolume) close() error {
	l.unlock()
	return l.openedPool.close()
}

// lockVolume opens the pool and locks the volume: one writer at a time.
func (s *System) lockVolume(ctx context.Context, pool, name string) (*lockedVolume, error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	v, err := s.lockVolumeIn(ctx, p, name)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return v, nil
}

func (s *System) lockVolumeIn(ctx context.Context, p *openedPool, name string) (*lockedVolume, error) {
	name = customName(name)
	if _, err := p.Volume(name); err != nil { // before a lock of that name is made
		return nil, volumeError(err, p.rec.Name, name)
	}
	unlock, err := s.dir.LockVolume(ctx, p.rec.Name, name)
	if err != nil {
		return nil, err
	}
	vol, err := p.Volume(name)
	if err != nil {
		unlock()
		return nil, volumeError(err, p.rec.Name, name)
	}
	return &lockedVolume{openedPool: p, vol: vol, unlock: unlock}, nil
}

// lockNewVolume takes the lock of a volume that is to be made, and refuses a bad
// name and one that is taken.
func (s *System) lockNewVolume(ctx context.Context, p *openedPool, name string) (unlock func(), err error) {
	if err := tree.ValidateVolumeName(name); err != nil {
		return nil, fmt.Errorf("cannot create volume %q: %w", name, err)
	}
	unlock, err = s.dir.LockVolume(ctx, p.rec.Name, name)
	if err != nil {
		return nil, err
	}
	_, err = p.Volume(name)
	if err == nil {
		err = fmt.Errorf("cannot create volume %s: %w", name, ErrExists)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// volumeError makes the error of package tree about a volume that is not there
// the one for the user.
func volumeError(err error, pool, ref string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return volumeNotFound(pool, ref)
	}
	return err
}

// volumeSnapshotError is volumeError about a snapshot.
func volumeSnapshotError(err error, pool, volume, snap string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("cannot find snapshot %q of volume %s in pool %s: %w", snap, volume, pool, ErrNotFound),
			"poolctl pool volume snapshot list %s %s shows them", pool, volume)
	}
	return err
}

// publicVolume is a custom volume in Incus's fields.
func publicVolume(v tree.Volume, users []volumeUser) Volume {
	return Volume{
		Config: v.Config, Description: v.Description, Name: v.Name, Type: volumeCustom, UsedBy: usedBy(users), Location: "none",
		ContentType: contentFilesystem, Project: v.Project, CreatedAt: v.CreatedAt,
	}
}

// publicVolumeSnapshot is a snapshot of one in Incus's fields.
func publicVolumeSnapshot(sn tree.VolumeSnapshot) VolumeSnapshot {
	out := VolumeSnapshot{
		Description: sn.Description, Name: sn.Name, Config: sn.Config, ContentType: contentFilesystem, CreatedAt: sn.CreatedAt,
	}
	if !sn.ExpiresAt.IsZero() {
		at := sn.ExpiresAt
		out.ExpiresAt = &at
	}
	return out
}

// orZero is a time that may be missing.
func orZero(t *time.Time) time.Time {
	if t == nil || t.Unix() <= 0 {
		return time.Time{}
	}
	return *t
}
