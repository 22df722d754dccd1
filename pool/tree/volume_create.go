package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opVolumeCreate = "volume-create"

// VolumeStage is a custom volume in the making. It ends with Commit or Abort, or with the process: then the next Recover
// removes it.
type VolumeStage struct {
	tree  *Tree
	entry *journal.Entry
	name  string
	// received are the members in Dir: r0, r1 and so on.
	received []Member
	// replaces is set when it takes the place of a volume that is there.
	replaces *replacing
}

// StageVolume begins a custom volume of that name. A name that is taken is fs.ErrExist, a bad one ErrInvalidName.
func (t *Tree) StageVolume(ctx context.Context, name string) (*VolumeStage, error) {
	if err := ValidateVolumeName(name); err != nil {
		return nil, err
	}
	if err := t.checkFreeIn(ctx, customs(), volumeDir(name)); err != nil {
		return nil, fmt.Errorf("cannot create volume %s: %w", name, err)
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opVolumeCreate, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot create volume %s: %w", name, err)
	}
	crash.Point("tree.volume.begun")
	return &VolumeStage{tree: t, entry: e, name: name}, nil
}

// Path is where the caller makes the volume: a writable subvolume.
func (s *VolumeStage) Path() string { return s.entry.Path(entryVolume) }

// Dir is a directory of the pool for what is made on the way. What is left in it goes with the stage.
func (s *VolumeStage) Dir() (string, error) {
	dir := s.entry.Path("work")
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return dir, err
}

// SnapshotPath is where the caller makes a snapshot of the volume: a read-only subvolume.
func (s *VolumeStage) SnapshotPath(snap string) (string, error) {
	if err := ValidateSnapshotName(snap); err != nil {
		return "", err
	}
	err := os.Mkdir(s.entry.Path(entrySnapshots), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return filepath.Join(s.entry.Path(entrySnapshots), snap), nil
}

// Commit moves the volume, its snapshots and its record into their places; the volume's own is the last one and makes it
// exist. v.Snapshots describes the snapshots. After an error Abort undoes the rest.
func (s *VolumeStage) Commit(ctx context.Context, v Volume) error {
	if s.replaces != nil {
		return s.replace(ctx, v)
	}
	if err := s.commit(ctx, v); err != nil {
		return fmt.Errorf("cannot create volume %s: %w", s.name, err)
	}
	e := s.entry
	s.entry = nil
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("cannot clean up after the creation of volume %s: %w", s.name, err), e.Close())
	}
	return e.Done()
}

func (s *VolumeStage) commit(ctx context.Context, v Volume) error {
	t, dir := s.tree, volumeDir(s.name)
	inode, err := dirInode(s.entry.Path(entrySnapshots))
	if err != nil {
		return err
	}
	staged := s.entry.Path(customs().ownerName(inode, dir))
	if err := renameNew(s.Path(), staged); err != nil {
		return err
	}
	crash.Point("tree.volume.staged")
	rec := volumeRecord{Description: v.Description, Config: v.Config, CreatedAt: v.CreatedAt, Snapshots: v.Snapshots}
	if err := t.stageVolumeRecord(s.entry, dir, rec); err != nil {
		return err
	}
	crash.Point("tree.volume.recorded")
	if err := ctx.Err(); err != nil {
		return err
	}
	if inode != 0 {
		if err := removeIfEmpty(t.snapshotsIn(customs(), dir)); err != nil { // LXD leaves one
			return err
		}
		if err := renameNew(s.entry.Path(entrySnapshots), t.snapshotsIn(customs(), dir)); err != nil {
			return err
		}
		crash.Point("tree.volume.snapshots")
	}
	if err := renameNew(staged, t.pathIn(customs(), dir)); err != nil {
		return err
	}
	crash.Point("tree.volume.moved")
	return nil
}

// Abort deletes what was staged. After a Commit that succeeded, and a second time, it does nothing.
func (s *VolumeStage) Abort() error {
	if s.entry == nil {
		return nil
	}
	e := s.entry
	s.entry = nil
	if err := s.tree.fetchSnapshots(e); err != nil {
		return errors.Join(err, e.Close()) // the next Recover undoes it
	}
	return abandon(e, nil)
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

// VolumeSource says what CopyVolume copies.
type VolumeSource struct {
	// Name is the volume; Snapshot the one of its snapshots that is copied, "" for the volume as it is now.
	Name, Snapshot string
	// Snapshots takes the snapshots along. One snapshot has none.
	Snapshots bool
}

// Ref is what is copied, as the user writes it: NAME or NAME/SNAPSHOT.
func (o VolumeSource) Ref() string {
	if o.Snapshot == "" {
		return o.Name
	}
	return o.Name + "/" + o.Snapshot
}

// CopyVolume makes a custom volume of another one in the pool, which may be in use, or of a snapshot of one. It shares all
// data with its source. v.Snapshots describes the snapshots that it is to have: those of the source of the same names. setup
// is that of CreateVolume.
func (t *Tree) CopyVolume(ctx context.Context, v Volume, from VolumeSource, setup func(path string) error) error {
	s, err := t.StageVolume(ctx, v.Name)
	if err != nil {
		return err
	}
	return t.copyInto(ctx, s, v, from, setup)
}

// copyInto fills a stage from a volume in the same pool, and ends it.
func (t *Tree) copyInto(ctx context.Context, s *VolumeStage, v Volume, from VolumeSource, setup func(path string) error) error {
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
func (t *Tree) volumeSource(from VolumeSource) (string, error) {
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
