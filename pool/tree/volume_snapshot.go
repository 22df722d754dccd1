package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opVolumeSnapshot       = "volume-snapshot"
	opVolumeSnapshotDelete = "volume-snapshot-delete"
	opVolumeRestore        = "volume-restore"
)

// volumeArgs are the arguments of the operations on one custom volume or snapshot of one. Volume is a directory's name.
type volumeArgs struct {
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot,omitempty"`
}

func (a volumeArgs) check() error {
	return errors.Join(checkComponent(a.Volume), checkComponent(a.Snapshot))
}

// CreateVolumeSnapshot makes a read-only snapshot of a custom volume, which may be in use. A name that is taken is
// fs.ErrExist, a volume that is not there fs.ErrNotExist, a bad name ErrInvalidName.
//
// What is to be known of it is written first: the record of a snapshot that is not there means nothing.
func (t *Tree) CreateVolumeSnapshot(ctx context.Context, name string, snap VolumeSnapshot) error {
	if err := ValidateSnapshotName(snap.Name); err != nil {
		return err
	}
	if err := t.createVolumeSnapshot(ctx, name, snap); err != nil {
		return fmt.Errorf("cannot create snapshot %s/%s: %w", name, snap.Name, err)
	}
	return nil
}

func (t *Tree) createVolumeSnapshot(ctx context.Context, name string, snap VolumeSnapshot) error {
	v, err := t.readableVolume(name)
	if err != nil {
		return err
	}
	dir := volumeDir(name)
	where := t.snapshotsIn(customs(), dir)
	path := filepath.Join(where, snap.Name)
	if there, err := exists(path); err != nil {
		return err
	} else if there {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	args := volumeArgs{dir, snap.Name}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opVolumeSnapshot, args)
	if err != nil {
		return err
	}
	crash.Point("tree.volumesnapshot.begun")
	err = t.changeVolumeRecord(e, dir, snap.Name, func(rec *volumeRecord) error {
		rec.CreatedAt = v.CreatedAt
		rec.Snapshots = slices.DeleteFunc(rec.Snapshots, func(s VolumeSnapshot) bool { return s.Name == snap.Name })
		rec.Snapshots = append(rec.Snapshots, snap)
		return nil
	})
	if err == nil {
		crash.Point("tree.volumesnapshot.recorded")
		err = t.takeSnapshot(ctx, e, taking{from: t.pathIn(customs(), dir), dir: where, name: snap.Name, args: args})
	}
	if err != nil {
		return abandon(e, errors.Join(err, removeIfEmpty(where)))
	}
	crash.Point("tree.volumesnapshot.taken")
	return e.Done()
}

// recoverVolumeSnapshot finishes a snapshot that is in its place, and deletes one that is not.
func (t *Tree) recoverVolumeSnapshot(ctx context.Context, e *journal.Entry) error {
	var args volumeArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := args.check(); err != nil {
		return err
	}
	where := t.snapshotsIn(customs(), args.Volume)
	if err := errors.Join(finishSnapshot(ctx, filepath.Join(where, args.Snapshot)), removeIfEmpty(where)); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// RenameVolumeSnapshot gives a snapshot of a custom volume another name. One that is taken is fs.ErrExist.
func (t *Tree) RenameVolumeSnapshot(name, from, to string) error {
	if err := ValidateSnapshotName(to); err != nil {
		return err
	}
	path, err := t.VolumeSnapshotPath(name, from)
	if err == nil {
		err = t.renameVolumeSnapshot(name, path, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot rename snapshot %s/%s: %w", name, from, err)
	}
	return nil
}

// renameVolumeSnapshot has both names in the record when the subvolume changes its own.
func (t *Tree) renameVolumeSnapshot(name, path, from, to string) error {
	v, err := t.readableVolume(name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(v.Snapshots, func(s VolumeSnapshot) bool { return s.Name == from })
	if i < 0 {
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	there := slices.ContainsFunc(v.Snapshots, func(s VolumeSnapshot) bool { return s.Name == to })
	target := filepath.Join(filepath.Dir(path), to)
	if there {
		return &fs.PathError{Op: "rename", Path: target, Err: fs.ErrExist}
	}
	e, err := journal.BeginUnsynced(context.Background(), t.staging(), opVolumeUpdate, nil)
	if err != nil {
		return err
	}
	crash.Point("tree.volumesnapshotrename.begun")
	err = t.changeVolumeRecord(e, volumeDir(name), to, func(rec *volumeRecord) error {
		renamed := v.Snapshots[i]
		renamed.Name = to
		rec.CreatedAt = v.CreatedAt
		rec.Snapshots = append(slices.DeleteFunc(rec.Snapshots, func(s VolumeSnapshot) bool { return s.Name == to }), renamed)
		return nil
	})
	if err == nil {
		crash.Point("tree.volumesnapshotrename.recorded")
		err = renameNew(path, target)
	}
	if err == nil {
		crash.Point("tree.volumesnapshotrename.renamed")
		err = t.changeVolumeRecord(e, volumeDir(name), "", func(*volumeRecord) error { return nil }) // drops the old name
	}
	return abandon(e, err)
}

// DeleteVolumeSnapshot deletes one snapshot of a custom volume; fs.ErrNotExist when there is none.
func (t *Tree) DeleteVolumeSnapshot(ctx context.Context, name, snap string) error {
	path, err := t.VolumeSnapshotPath(name, snap)
	if err != nil {
		return fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err)
	}
	args := volumeArgs{volumeDir(name), snap}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opVolumeSnapshotDelete, args)
	if err != nil {
		return fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err)
	}
	crash.Point("tree.volumesnapshotdelete.begun")
	if err := t.deleteVolume(ctx, e, path, args); err != nil {
		return t.undoDelete(e, path, fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err))
	}
	crash.Point("tree.volumesnapshotdelete.volume")
	// An entry that is left in the record means nothing; a record that cannot be read is no reason to fail.
	_ = t.changeVolumeRecord(e, args.Volume, "", func(*volumeRecord) error { return nil })
	if err := removeIfEmpty(filepath.Dir(path)); err != nil {
		return errors.Join(err, e.Close())
	}
	crash.Point("tree.volumesnapshotdelete.recorded")
	return e.Done()
}

// recoverVolumeSnapshotDelete finishes a delete whose volume is gone from its place, and undoes one whose volume is not.
func (t *Tree) recoverVolumeSnapshotDelete(ctx context.Context, e *journal.Entry) error {
	var args volumeArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := args.check(); err != nil {
		return err
	}
	where := t.snapshotsIn(customs(), args.Volume)
	if err := errors.Join(protect(filepath.Join(where, args.Snapshot)), removeIfEmpty(where)); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// RestoreVolume gives a custom volume the content of one of its snapshots. The present volume is exchanged with the
// restored one in one step and deleted after that; its configuration and the snapshots stay, as in Incus. made, if not nil,
// is called with the restored volume before it takes the place of the present one. Whether something uses the volume is for
// the caller to look at.
func (t *Tree) RestoreVolume(ctx context.Context, name, snap string, made func(path string) error) error {
	err := t.restoreVolume(ctx, name, snap, made)
	if err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
	}
	return nil
}

func (t *Tree) restoreVolume(ctx context.Context, name, snap string, made func(path string) error) error {
	source, err := t.VolumeSnapshotPath(name, snap)
	if err != nil {
		return err
	}
	if _, err := t.Volume(name); err != nil {
		return err
	}
	return t.replaceBy(ctx, opVolumeRestore, volumeArgs{volumeDir(name), snap}, source, func(staged string) error {
		if made != nil {
			if err := made(staged); err != nil {
				return err
			}
		}
		crash.Point("tree.restore.recorded")
		if err := ctx.Err(); err != nil {
			return err
		}
		return exchange(staged, t.VolumePath(name))
	})
}
