package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opCreate         = "instance-create"
	opInstanceDelete = "instance-delete"
	// entrySnapshots is the directory of snapshots in the entry of a deleted instance.
	entrySnapshots = "snapshots"
)

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

// deleteArgs are the arguments of opInstanceDelete.
type deleteArgs struct {
	Instance string `json:"instance"`
	// Snapshots is the inode of the directory of the snapshots, which btrfs does not give to another one: so those of a
	// new instance of the same name are never taken for it. 0 = there was none.
	Snapshots uint64 `json:"snapshots"`
}

// DeleteInstance deletes an instance and its snapshots; fs.ErrNotExist when there is none. Whether it runs is for the
// caller to look at.
func (t *Tree) DeleteInstance(ctx context.Context, name string) error {
	if err := t.deleteInstance(ctx, name); err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	return nil
}

func (t *Tree) deleteInstance(ctx context.Context, name string) error {
	if err := checkComponent(name); err != nil {
		return err
	}
	path := t.InstancePath(name)
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "delete", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	inode, err := dirInode(t.snapshotDir(name))
	if err != nil {
		return err
	}
	if sub, err := isSubvolume(path); err != nil {
		return err
	} else if sub && inode == 0 {
		// Nothing to keep together: one ioctl does it, unless there are subvolumes in it.
		if err := btrfs.DeleteSubvolume(path); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	e, err := journal.Begin(ctx, t.staging(), opInstanceDelete, deleteArgs{name, inode})
	if err != nil {
		return err
	}
	crash.Point("tree.delete.begun")
	if err := moveOut(path, e.Path(entryVolume)); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.delete.instance")
	if inode != 0 {
		if err := renameNew(t.snapshotDir(name), e.Path(entrySnapshots)); err != nil {
			return abandon(e, errors.Join(err, renameNew(e.Path(entryVolume), path)))
		}
	}
	crash.Point("tree.delete.snapshots")
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("it is deleted, but its space is not free yet: %w", err), e.Close())
	}
	crash.Point("tree.delete.cleared")
	return e.Done()
}

// dirInode is the inode number of the directory at path, 0 when there is none.
func dirInode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	} else if err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// recoverInstanceDelete finishes a delete whose volume is in the entry. When it is not, either nothing was done yet, or
// everything was.
func (t *Tree) recoverInstanceDelete(ctx context.Context, e *journal.Entry) error {
	var args deleteArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := checkComponent(args.Instance); err != nil {
		return err
	}
	moved, err := exists(e.Path(entryVolume))
	if err != nil {
		return err
	}
	dir := t.snapshotDir(args.Instance)
	inode, err := dirInode(dir)
	if err != nil {
		return err
	}
	if moved && inode != 0 && inode == args.Snapshots {
		if err := renameNew(dir, e.Path(entrySnapshots)); err != nil {
			return err
		}
	}
	return clearEntry(ctx, e)
}
