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

const opInstanceDelete = "instance-delete"

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
	e, err := journal.BeginUnsynced(ctx, t.staging(), opInstanceDelete, nil)
	if err != nil {
		return err
	}
	crash.Point("tree.delete.begun")
	return t.deleteOwner(ctx, e, instances(), name)
}

// deleteOwner moves a volume of that place, which is the commit, and its snapshots into the entry, and deletes all that is
// in there.
func (t *Tree) deleteOwner(ctx context.Context, e *journal.Entry, p place, name string) error {
	path, snapshots := t.pathIn(p, name), t.snapshotsIn(p, name)
	inode, err := dirInode(snapshots)
	if err != nil {
		return abandon(e, err)
	}
	moved := e.Path(p.ownerName(inode, name))
	if err := moveOut(path, moved); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.delete.instance")
	if p == customs() {
		if err := t.fetchVolumeRecord(e.Path(entryVolumeRecord), name); err != nil {
			return errors.Join(err, e.Close()) // the next Recover finishes it
		}
		crash.Point("tree.delete.record")
	}
	if inode != 0 {
		if err := renameNew(snapshots, e.Path(entrySnapshots)); err != nil {
			if uerr := renameNew(moved, path); uerr != nil {
				return errors.Join(err, uerr, e.Close()) // the next Recover finishes it
			}
			return abandon(e, err)
		}
	}
	crash.Point("tree.delete.snapshots")
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("it is deleted, but its space is not free yet: %w", err), e.Close())
	}
	crash.Point("tree.delete.cleared")
	return e.Done()
}
