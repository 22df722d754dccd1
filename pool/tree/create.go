package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/btrfs"
	"poolctl/pool/crash"
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

// InstanceStage is an instance in the making.
type InstanceStage struct {
	OwnerStage
	// KeepLimit says that the limit holds also when there is more in the instance already.
	KeepLimit bool
}

// StageInstance begins an instance of that name. A name that is taken is fs.ErrExist, a bad one ErrInvalidName.
func (t *Tree) StageInstance(ctx context.Context, name string) (*InstanceStage, error) {
	if err := ValidateInstanceName(name); err != nil {
		return nil, err
	}
	s, err := t.beginStage(ctx, instances(), name, opCreate, nameArgs{Instance: name})
	if err != nil {
		return nil, fmt.Errorf("cannot create instance %s: %w", name, err)
	}
	return &InstanceStage{OwnerStage: s}, nil
}

// Commit makes the instance, with in as its record and in.Snapshots as those of its snapshots, of what is staged: it gets LXD's
// owner and mode and its limit, and is there by one rename. Where it replaces an instance, it is exchanged with that one.
// After an error Abort undoes the rest.
func (s *InstanceStage) Commit(ctx context.Context, in Instance) error {
	in.Name = s.dir
	if s.replaces != nil {
		if err := s.replace(ctx, s.exchangeInstance(in)); err != nil {
			return fmt.Errorf("cannot replace instance %s: %w", s.dir, err)
		}
		return nil
	}
	err := s.put(ctx, func(staged string) error { return s.record(ctx, staged, document{}, in, entriesOf(in.Snapshots)) })
	if err == nil {
		err = s.end(ctx)
	}
	if err != nil {
		return fmt.Errorf("cannot create instance %s: %w", s.dir, err)
	}
	return nil
}

// record makes the volume at staged one of an instance; old is the record that it replaces.
func (s *InstanceStage) record(ctx context.Context, staged string, old document, in Instance, snaps []entry) error {
	if err := prepareVolume(staged); err != nil {
		return err
	}
	if err := s.tree.writeRecord(staged, old, &in, snaps); err != nil {
		return err
	}
	crash.Point("tree.instance.recorded")
	return s.tree.limitStaged(ctx, staged, in.Limit, s.KeepLimit)
}

// origin is what a new instance is made of.
type origin struct {
	// volume is the subvolume that the instance's is a snapshot of; without one, fill writes into a new one.
	volume string
	fill   func(ctx context.Context, dir string) error
	// still, if not nil, calls do while nothing writes to volume.
	still func(ctx context.Context, do func() error) error
	// setup, if not nil, is called with the new volume when it is made.
	setup func(volume string) error
	// keepLimit is that of InstanceStage.
	keepLimit bool
	// snapshots are the snapshots that it begins with, as its record is to list them; takeSnapshot makes one at a path.
	snapshots    []Snapshot
	takeSnapshot func(ctx context.Context, snap, path string) error
}

// create makes an instance.
func (t *Tree) create(ctx context.Context, in Instance, from origin) error {
	s, err := t.StageInstance(ctx, in.Name)
	if err != nil {
		return err
	}
	return s.createFrom(ctx, in, from)
}

// createFrom fills a stage and ends it.
func (s *InstanceStage) createFrom(ctx context.Context, in Instance, from origin) error {
	err := from.stageSnapshots(ctx, s)
	if err == nil {
		err = from.stageVolume(ctx, s.tree, s.Path())
	}
	if err == nil {
		s.KeepLimit, in.Snapshots = from.keepLimit, from.snapshots
		err = s.Commit(ctx, in)
	}
	return errors.Join(err, s.Abort())
}

// stageSnapshots makes the snapshots.
func (o origin) stageSnapshots(ctx context.Context, s *InstanceStage) error {
	for _, snap := range o.snapshots {
		path, err := s.SnapshotPath(snap.Name)
		if err == nil {
			err = o.takeSnapshot(ctx, snap.Name, path)
		}
		if err != nil {
			return err
		}
		crash.Point("tree.copy.snapshot")
	}
	return nil
}

// stageVolume makes the new instance's volume at path. What is written for it is on the disk before the instance exists,
// and counts for its limit.
func (o origin) stageVolume(ctx context.Context, t *Tree, path string) error {
	if o.fill == nil {
		return o.copyVolume(ctx, t, path)
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

func (o origin) copyVolume(ctx context.Context, t *Tree, path string) error {
	take := func() error { return btrfs.SnapshotTree(ctx, o.volume, path, false) }
	var err error
	if o.still != nil {
		err = o.still(ctx, take)
	} else {
		err = take()
	}
	crash.Point("tree.create.snapshot")
	if err == nil && o.setup != nil {
		err = t.withReserve(func() error { return withHeadroom(path, func() error { return o.setup(path) }) })
		crash.Point("tree.create.setup")
	}
	return err
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
