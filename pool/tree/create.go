package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opCreate = "instance-create"

// nameArgs are the arguments of the operations on one instance or snapshot.
type nameArgs struct {
	Instance string `json:"instance"`
	Snapshot string `json:"snapshot,omitempty"`
}

// CreateInstance makes an instance of an image: a writable snapshot of its volume, with in as its record. A name that is
// taken is fs.ErrExist, an image that is not there fs.ErrNotExist, a bad name ErrInvalidName.
func (t *Tree) CreateInstance(ctx context.Context, in Instance, fingerprint string) error {
	if err := ValidateInstanceName(in.Name); err != nil {
		return err
	}
	if _, err := t.Image(fingerprint); err != nil {
		return err
	}
	if err := t.create(ctx, in, origin{volume: t.ImagePath(fingerprint)}); err != nil {
		return fmt.Errorf("cannot create instance %s: %w", in.Name, err)
	}
	return nil
}

// BuildInstance makes an instance of no image: of what fill writes into dir, an empty subvolume, which is metadata.yaml,
// templates/ and rootfs/. Errors are those of CreateInstance, and fill's.
func (t *Tree) BuildInstance(ctx context.Context, in Instance, fill func(ctx context.Context, dir string) error) error {
	if err := ValidateInstanceName(in.Name); err != nil {
		return err
	}
	if err := t.create(ctx, in, origin{fill: fill}); err != nil {
		return fmt.Errorf("cannot create instance %s: %w", in.Name, err)
	}
	return nil
}

// origin is what a new instance is made of.
type origin struct {
	// volume is the subvolume that the instance's is a snapshot of; without one, fill writes into a new one.
	volume string
	fill   func(ctx context.Context, dir string) error
	// keepLimit says that a limit holds also when there is more in it already.
	keepLimit bool
	// snapshots are the snapshots that it begins with, as its record is to list them; takeSnapshots makes them in dir.
	snapshots     []Snapshot
	takeSnapshots func(ctx context.Context, dir string) error
}

// create makes an instance in a journal entry and moves it from there into its place: its snapshots first, which nobody
// sees without it, and then its volume, which is the commit.
func (t *Tree) create(ctx context.Context, in Instance, from origin) error {
	if err := t.checkFreeIn(ctx, instances(), in.Name); err != nil {
		return err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opCreate, nameArgs{Instance: in.Name})
	if err != nil {
		return err
	}
	crash.Point("tree.create.begun")
	if err := t.createIn(ctx, e, in, from); err != nil {
		if ferr := t.fetchSnapshots(e); ferr != nil {
			return errors.Join(err, ferr, e.Close()) // the next Recover undoes it
		}
		return abandon(e, err)
	}
	return e.Done()
}

func (t *Tree) createIn(ctx context.Context, e *journal.Entry, in Instance, from origin) error {
	inode, err := from.stageSnapshots(ctx, e.Path(entrySnapshots))
	if err != nil {
		return err
	}
	staged := e.Path(instances().ownerName(inode, in.Name))
	if err := from.stageVolume(ctx, staged); err != nil {
		return err
	}
	if err := prepareVolume(staged); err != nil {
		return err
	}
	if err := writeRecord(staged, nil, &in, orEmpty(from.snapshots)); err != nil {
		return err
	}
	crash.Point("tree.create.recorded")
	if err := t.limitStaged(ctx, staged, in.Limit, from.keepLimit); err != nil {
		return err
	}
	crash.Point("tree.create.limited")
	if err := ctx.Err(); err != nil {
		return err
	}
	if inode != 0 {
		if err := removeIfEmpty(t.snapshotDir(in.Name)); err != nil { // LXD leaves one
			return err
		}
		if err := renameNew(e.Path(entrySnapshots), t.snapshotDir(in.Name)); err != nil {
			return err
		}
		crash.Point("tree.create.snapshots")
	}
	if err := renameNew(staged, t.InstancePath(in.Name)); err != nil {
		return err
	}
	crash.Point("tree.create.moved")
	return nil
}

// stageSnapshots makes the directory dir with the snapshots in it and returns its inode number: 0 when there are none.
func (o origin) stageSnapshots(ctx context.Context, dir string) (inode uint64, err error) {
	if len(o.snapshots) == 0 {
		return 0, nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	if err := o.takeSnapshots(ctx, dir); err != nil {
		return 0, err
	}
	return dirInode(dir)
}

// stageVolume makes the new instance's volume at path. What is written for it is on the disk before the instance exists,
// and counts for its limit.
func (o origin) stageVolume(ctx context.Context, path string) error {
	if o.fill == nil {
		err := btrfs.SnapshotTree(ctx, o.volume, path, false)
		crash.Point("tree.create.snapshot")
		return err
	}
	if err := btrfs.CreateSubvolume(path); err != nil {
		return err
	}
	crash.Point("tree.create.made")
	if err := o.fill(ctx, path); err != nil {
		return err
	}
	crash.Point("tree.create.filled")
	if err := btrfs.Sync(path); err != nil {
		return err
	}
	crash.Point("tree.create.synced")
	return nil
}

// prepareVolume gives the root of an instance's volume LXD's owner and mode: only the host's root enters it, so that no
// set-id program in it can be run from outside.
func prepareVolume(path string) error {
	return withHeadroom(path, func() error { return errors.Join(os.Lchown(path, 0, 0), os.Chmod(path, 0o100)) })
}

// checkFreeIn refuses the name of an instance, of a virtual machine of LXD's or of a custom volume that exists, and one
// whose snapshots are still there.
func (t *Tree) checkFreeIn(ctx context.Context, p place, name string) error {
	taken := []string{t.pathIn(p, name)}
	if p == instances() {
		taken = append(taken, t.mnt+"/virtual-machines/"+name)
	}
	for _, path := range taken {
		if there, err := exists(path); err != nil {
			return err
		} else if there {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
	}
	where := t.snapshotsIn(p, name)
	snaps, err := t.subvolumesIn(where)
	if err == nil && len(snaps) > 0 {
		// A create or delete that was killed halfway leaves them; a Recover then takes them.
		if err = t.Recover(ctx); err == nil {
			snaps, err = t.subvolumesIn(where)
		}
	}
	if err == nil && len(snaps) > 0 {
		err = fmt.Errorf("%s holds snapshots of what is gone", where)
	}
	return err
}
