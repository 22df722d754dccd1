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
	if err := t.checkFree(ctx, in.Name); err != nil {
		return fmt.Errorf("cannot create instance %s: %w", in.Name, err)
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opCreate, nameArgs{Instance: in.Name})
	if err != nil {
		return fmt.Errorf("cannot create instance %s: %w", in.Name, err)
	}
	crash.Point("tree.create.begun")
	if err := t.create(ctx, e.Path(entryVolume), in, fingerprint); err != nil {
		return abandon(e, fmt.Errorf("cannot create instance %s: %w", in.Name, err))
	}
	return e.Done()
}

func (t *Tree) create(ctx context.Context, staged string, in Instance, fingerprint string) error {
	if err := btrfs.SnapshotTree(ctx, t.ImagePath(fingerprint), staged, false); err != nil {
		return err
	}
	crash.Point("tree.create.snapshot")
	if err := prepareVolume(staged); err != nil {
		return err
	}
	if err := writeRecord(staged, nil, &in, []Snapshot{}); err != nil {
		return err
	}
	crash.Point("tree.create.recorded")
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := renameNew(staged, t.InstancePath(in.Name)); err != nil {
		return err
	}
	crash.Point("tree.create.moved")
	return nil
}

// prepareVolume gives the root of an instance's volume LXD's owner and mode: only the host's root enters it, so that no
// set-id program in it can be run from outside.
func prepareVolume(path string) error {
	return errors.Join(os.Lchown(path, 0, 0), os.Chmod(path, 0o100))
}

// checkFree refuses the name of an instance, or of a virtual machine of LXD's, that exists, and one whose snapshots are
// still there.
func (t *Tree) checkFree(ctx context.Context, name string) error {
	for _, path := range []string{t.InstancePath(name), t.mnt + "/virtual-machines/" + name} {
		if there, err := exists(path); err != nil {
			return err
		} else if there {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
	}
	snaps, err := t.snapshotNames(name)
	if err == nil && len(snaps) > 0 {
		// A delete that was killed halfway leaves them; a Recover then takes them.
		if err = t.Recover(ctx); err == nil {
			snaps, err = t.snapshotNames(name)
		}
	}
	if err == nil && len(snaps) > 0 {
		err = fmt.Errorf("%s holds snapshots of an instance that is gone", t.snapshotDir(name))
	}
	return err
}
