package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// In a pool whose metadata has no room left, the kernel still deletes subvolumes, files and directories, for which it keeps some (the
// global block reserve; use_global_rsv in btrfs_subvolume_reserve_metadata, fs/btrfs/root-tree.c), but it makes no directory, and
// renames nothing, which takes more: there is no journal, and nothing can be moved into it. What is deleted for good is deleted where it
// is then, one subvolume after the other, and the intent is not in the pool.

// Kind is what a Doomed is.
type Kind string

// The kinds of what is deleted in place.
const (
	KindInstance Kind = "instance"
	KindVolume   Kind = "volume"
	KindImage    Kind = "image"
)

// Doomed is what DeleteInPlace deletes.
type Doomed struct {
	Kind Kind `json:"kind"`
	// Name is that of the instance or the volume, or the fingerprint of the image.
	Name string `json:"name"`
	// Snapshot is the one that is meant, of an instance or a volume; "" for that itself with all of them.
	Snapshot string `json:"snapshot,omitempty"`
	// UUID is that of the subvolume. Another one that has its name by now is left alone.
	UUID string `json:"uuid,omitempty"`
}

// Identified is d with the UUID of what there is.
func (t *Tree) Identified(d Doomed) (Doomed, error) {
	path, err := t.doomedPath(d)
	if err != nil {
		return d, err
	}
	sub, err := btrfs.Stat(path)
	d.UUID = sub.UUID
	return d, err
}

func (t *Tree) doomedPath(d Doomed) (string, error) {
	var path string
	err := checkComponent(d.Name)
	switch d.Kind {
	case KindInstance:
		path = t.InstancePath(d.Name)
		if d.Snapshot != "" {
			path = t.snapshotPath(d.Name, d.Snapshot)
		}
	case KindVolume:
		err = checkVolume(d.Name)
		path = t.VolumePath(d.Name)
		if d.Snapshot != "" {
			path = filepath.Join(t.snapshotsIn(customs(), volumeDir(d.Name)), d.Snapshot)
		}
	case KindImage:
		err = ValidateFingerprint(d.Name)
		path = t.ImagePath(d.Name)
	default:
		err = fmt.Errorf("there is no kind %q", d.Kind)
	}
	if d.Snapshot != "" {
		err = errors.Join(err, checkComponent(d.Snapshot))
	}
	return path, err
}

// DeleteInPlace deletes what d is without a journal, and waits until its room can be had: what is nested in a subvolume before it, and
// the snapshots before what they are of, so that a killed one is gone on with by calling it again. It is not cancelled.
func (t *Tree) DeleteInPlace(ctx context.Context, d Doomed) error {
	ctx = context.WithoutCancel(ctx)
	path, err := t.doomedPath(d)
	if err != nil {
		return err
	}
	sub, err := btrfs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = nil // killed after that: what is recorded of it is left
	case err != nil:
		return err
	case sub.UUID != d.UUID:
		return nil
	default:
		err = t.deleteWithSnapshots(ctx, path, d)
	}
	if err == nil {
		crash.Point("tree.deleteinplace.deleted")
		err = t.forgetDoomed(d)
	}
	return errors.Join(err, btrfs.WaitDeleted(ctx, t.mnt))
}

func (t *Tree) deleteWithSnapshots(ctx context.Context, path string, d Doomed) error {
	if d.Snapshot == "" && d.Kind != KindImage {
		dir := t.snapshotDir(d.Name)
		if d.Kind == KindVolume {
			dir = t.snapshotsIn(customs(), volumeDir(d.Name))
		}
		names, err := t.subvolumesIn(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := btrfs.DeleteTree(ctx, filepath.Join(dir, name)); err != nil {
				return err
			}
			crash.Point("tree.deleteinplace.snapshot")
		}
		if err := discard(ctx, dir); err != nil {
			return err
		}
	}
	return btrfs.DeleteTree(ctx, path)
}

// forgetDoomed removes what is recorded of d, which is deleted.
func (t *Tree) forgetDoomed(d Doomed) error {
	switch {
	case d.Kind == KindImage:
		return t.removeImageRecord(d.Name)
	case d.Kind == KindVolume && d.Snapshot != "":
		return removeIfEmpty(t.snapshotsIn(customs(), volumeDir(d.Name)))
	case d.Kind == KindVolume:
		return t.lockedVolumeRecords(func() error {
			err := os.Remove(t.volumeRecordPath(volumeDir(d.Name)))
			if errors.Is(err, fs.ErrNotExist) { // one of LXD's has none
				return nil
			}
			return err
		})
	case d.Snapshot != "":
		err := t.syncSnapshots(d.Name, nil)
		if errors.Is(err, unix.ENOSPC) {
			err = nil // the list is for the next change that has room for it
		}
		return errors.Join(err, removeIfEmpty(t.snapshotDir(d.Name)))
	}
	return nil
}
