package tree

import (
	"context"
	"errors"
	"fmt"
	"os"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

const opVolumeCreate = "volume-create"

// VolumeStage is a custom volume in the making.
type VolumeStage struct {
	OwnerStage
	name string
}

// StageVolume begins a custom volume of that name. A name that is taken is fs.ErrExist, a bad one ErrInvalidName.
func (t *Tree) StageVolume(ctx context.Context, name string) (*VolumeStage, error) {
	if err := ValidateVolumeName(name); err != nil {
		return nil, err
	}
	s, err := t.beginStage(ctx, customs(), volumeDir(name), opVolumeCreate, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot create volume %s: %w", name, err)
	}
	return &VolumeStage{s, name}, nil
}

// Commit moves the volume, its snapshots and its record into their places; the volume's own is the last one and makes it
// exist. v.Snapshots describes the snapshots. After an error Abort undoes the rest.
func (s *VolumeStage) Commit(ctx context.Context, v Volume) error {
	if s.replaces != nil {
		if err := s.replace(ctx, s.exchangeVolume(v)); err != nil {
			return fmt.Errorf("cannot replace volume %s: %w", s.name, err)
		}
		return nil
	}
	err := s.put(ctx, func(string) error { return s.tree.stageVolumeRecord(s.entry, s.dir, recordOf(v)) })
	if err == nil {
		err = s.end(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot create volume %s: %w", s.name, err)
	}
	return nil
}

func recordOf(v Volume) volumeRecord {
	return volumeRecord{Description: v.Description, Config: v.Config, CreatedAt: v.CreatedAt, Snapshots: v.Snapshots}
}

// CreateVolume makes an empty custom volume, with LXD's mode. setup, if not nil, is called with its path before it exists
// for anybody else.
func (t *Tree) CreateVolume(ctx context.Context, v Volume, setup func(path string) error) error {
	s, err := t.StageVolume(ctx, v.Name)
	if err != nil {
		return err
	}
	err = btrfs.CreateSubvolume(s.Path())
	if err == nil {
		crash.Point("tree.volume.made")
		err = os.Chmod(s.Path(), 0o711)
	}
	if err == nil && setup != nil {
		err = setup(s.Path())
	}
	if err == nil {
		return errors.Join(s.Commit(ctx, v), s.Abort())
	}
	return errors.Join(fmt.Errorf("cannot create volume %s: %w", v.Name, err), s.Abort())
}

// CopyVolume makes a custom volume of another one in the pool, which may be in use, or of a snapshot of one. It shares all
// data with its source. v.Snapshots describes the snapshots that it is to have: those of the source of the same names. setup
// is that of CreateVolume.
func (t *Tree) CopyVolume(ctx context.Context, v Volume, from Source, setup func(path string) error) error {
	s, err := t.StageVolume(ctx, v.Name)
	if err != nil {
		return err
	}
	return t.copyInto(ctx, s, v, from, setup)
}

// copyInto fills a stage from a volume in the same pool, and ends it.
func (t *Tree) copyInto(ctx context.Context, s *VolumeStage, v Volume, from Source, setup func(path string) error) error {
	source, err := t.volumeSource(from)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot copy volume %s: %w", from.Ref(), err), s.Abort())
	}
	for _, snap := range v.Snapshots {
		if err = t.copyVolumeSnapshot(ctx, s, from.Name, snap.Name); err != nil {
			break
		}
		crash.Point("tree.volume.copy.snapshot")
	}
	if err == nil {
		err = btrfs.SnapshotTree(ctx, source, s.Path(), false)
	}
	if err == nil && setup != nil {
		err = setup(s.Path())
	}
	if err == nil {
		crash.Point("tree.volume.copied")
		return errors.Join(s.Commit(ctx, v), s.Abort())
	}
	return errors.Join(fmt.Errorf("cannot copy volume %s to %s: %w", from.Ref(), v.Name, err), s.Abort())
}

// volumeSource is the path of what is copied.
func (t *Tree) volumeSource(from Source) (string, error) {
	if from.Snapshot != "" {
		return t.VolumeSnapshotPath(from.Name, from.Snapshot)
	}
	if _, err := t.Volume(from.Name); err != nil {
		return "", err
	}
	return t.VolumePath(from.Name), nil
}

func (t *Tree) copyVolumeSnapshot(ctx context.Context, s *VolumeStage, name, snap string) error {
	from, err := t.VolumeSnapshotPath(name, snap)
	if err != nil {
		return err
	}
	to, err := s.SnapshotPath(snap)
	if err != nil {
		return err
	}
	return btrfs.SnapshotTree(ctx, from, to, true)
}
