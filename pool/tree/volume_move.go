package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opVolumeDelete = "volume-delete"
	opVolumeRename = "volume-rename"
)

// DeleteVolume deletes a custom volume and its snapshots; fs.ErrNotExist when there is none. Whether something uses it is
// for the caller to look at.
func (t *Tree) DeleteVolume(ctx context.Context, name string) error {
	if err := t.deleteCustom(ctx, name); err != nil {
		return fmt.Errorf("cannot delete volume %s: %w", name, err)
	}
	return nil
}

func (t *Tree) deleteCustom(ctx context.Context, name string) error {
	if _, err := t.Volume(name); err != nil {
		return err
	}
	dir := volumeDir(name)
	e, err := journal.BeginUnsynced(ctx, t.staging(), opVolumeDelete, nil)
	if err != nil {
		return err
	}
	crash.Point("tree.volumedelete.begun")
	if err := t.holdVolumeRecord(e.Path(entryVolumeRecord), dir); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.volumedelete.held")
	return t.deleteOwner(ctx, e, customs(), dir)
}

// renaming are the arguments of opVolumeRename: the names of directories, the volume's id and the inode number of the
// directory of its snapshots, 0 when it has none.
type renaming struct {
	From  string `json:"from"`
	To    string `json:"to"`
	ID    uint64 `json:"id"`
	Inode uint64 `json:"inode"`
}

// RenameVolume gives a custom volume another name. A name that is taken is fs.ErrExist, a bad one ErrInvalidName. What names
// the volume is the caller's business.
//
// Order: the record gets its second name, the snapshots move, the volume moves (the commit), the old record goes.
func (t *Tree) RenameVolume(ctx context.Context, from, to string) error {
	if err := ValidateVolumeName(to); err != nil {
		return err
	}
	if err := t.renameVolume(ctx, from, to); err != nil {
		return fmt.Errorf("cannot rename volume %s to %s: %w", from, to, err)
	}
	return nil
}

func (t *Tree) renameVolume(ctx context.Context, from, to string) error {
	if _, err := t.Volume(from); err != nil {
		return err
	}
	if err := t.checkFreeIn(ctx, customs(), volumeDir(to)); err != nil {
		return err
	}
	sub, err := btrfs.Stat(t.VolumePath(from))
	if err != nil {
		return err
	}
	inode, err := dirInode(t.snapshotsIn(customs(), volumeDir(from)))
	if err != nil {
		return err
	}
	args := renaming{volumeDir(from), volumeDir(to), sub.ID, inode}
	e, err := journal.Begin(ctx, t.staging(), opVolumeRename, args)
	if err != nil {
		return err
	}
	crash.Point("tree.volumerename.begun")
	if err = t.renameSteps(e, args); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = renameNew(t.VolumePath(from), t.VolumePath(to))
		crash.Point("tree.volumerename.moved")
	}
	if rerr := t.endRename(e, args); rerr != nil {
		return errors.Join(err, rerr, e.Close())
	}
	return abandon(e, err)
}

// renameSteps are those before the commit.
func (t *Tree) renameSteps(e *journal.Entry, args renaming) error {
	if err := t.holdVolumeRecord(e.Path(entryVolumeRecord), args.From); err != nil {
		return err
	}
	if held, err := fileInode(e.Path(entryVolumeRecord)); err != nil {
		return err
	} else if held != 0 {
		if err := t.linkVolumeRecord(e, e.Path(entryVolumeRecord), args.To); err != nil {
			return err
		}
	}
	crash.Point("tree.volumerename.recorded")
	if args.Inode == 0 {
		return nil
	}
	if err := removeIfEmpty(t.snapshotsIn(customs(), args.To)); err != nil {
		return err
	}
	err := renameNew(t.snapshotsIn(customs(), args.From), t.snapshotsIn(customs(), args.To))
	crash.Point("tree.volumerename.snapshots")
	return err
}

// endRename finishes a renaming whose volume has its new name, and undoes one whose volume has the old one: the record and
// the snapshots follow it.
func (t *Tree) endRename(e *journal.Entry, args renaming) error {
	old, was := args.To, args.From
	if sub, err := btrfs.Stat(t.pathIn(customs(), args.To)); err == nil && sub.ID == args.ID {
		old, was = args.From, args.To
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, btrfs.ErrNotSubvolume) {
		return err
	}
	if err := t.fetchVolumeRecord(e.Path(entryVolumeRecord), old); err != nil {
		return err
	}
	inode, err := dirInode(t.snapshotsIn(customs(), old))
	if err == nil && inode != 0 && inode == args.Inode {
		err = renameNew(t.snapshotsIn(customs(), old), t.snapshotsIn(customs(), was))
	}
	return err
}

func (t *Tree) recoverVolumeRename(ctx context.Context, e *journal.Entry) error {
	var args renaming
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.From), checkComponent(args.To)); err != nil {
		return err
	}
	if err := t.endRename(e, args); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}
