package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opSnapshotRename = "snapshot-rename"

// snapshotRenameArgs are the arguments of opSnapshotRename.
type snapshotRenameArgs struct {
	Instance string `json:"instance"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// RenameSnapshot gives a snapshot of an instance another name. One that is taken is fs.ErrExist, a snapshot that is not there
// fs.ErrNotExist, a bad name ErrInvalidName.
func (t *Tree) RenameSnapshot(ctx context.Context, name, from, to string) error {
	if err := ValidateSnapshotName(to); err != nil {
		return err
	}
	if err := t.renameSnapshot(ctx, snapshotRenameArgs{name, from, to}); err != nil {
		return fmt.Errorf("cannot rename snapshot %s/%s: %w", name, from, err)
	}
	return nil
}

// renameSnapshot renames the subvolume, which is the commit, and then the entry in the record. In between, what the entry
// says can be found by the intent only, so that is durable.
func (t *Tree) renameSnapshot(ctx context.Context, args snapshotRenameArgs) error {
	path, err := t.SnapshotPath(args.Instance, args.From)
	if err != nil {
		return err
	}
	target := t.snapshotPath(args.Instance, args.To)
	if there, err := exists(target); err != nil {
		return err
	} else if there {
		return &fs.PathError{Op: "rename", Path: target, Err: fs.ErrExist}
	}
	e, err := journal.Begin(ctx, t.staging(), opSnapshotRename, args)
	if err != nil {
		return err
	}
	crash.Point("tree.snapshotrename.begun")
	if err := renameNew(path, target); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.snapshotrename.renamed")
	if err := t.renameEntry(args); err != nil {
		return abandon(e, errors.Join(err, renameNew(target, path)))
	}
	crash.Point("tree.snapshotrename.recorded")
	return e.Done()
}

// renameEntry gives the entry of a renamed snapshot its name.
func (t *Tree) renameEntry(args snapshotRenameArgs) error {
	err := t.withRecord(args.Instance, brief, func(rec record) error {
		if e := findEntry(rec.entries, args.From); e != nil && findEntry(rec.entries, args.To) == nil {
			if err := e.rename(args.To); err != nil {
				return err
			}
			if err := rec.doc.renameVolumeSnapshot(args.From, args.To); err != nil {
				return err
			}
		}
		snaps, err := t.listEntries(args.Instance, rec.entries)
		if err != nil {
			return err
		}
		return t.writeRecord(t.InstancePath(args.Instance), rec.doc, rec.Container, snaps)
	})
	if err != nil && t.hasNoList(args.Instance) {
		return nil
	}
	return err
}

// recoverSnapshotRename finishes a rename that has happened.
func (t *Tree) recoverSnapshotRename(ctx context.Context, e *journal.Entry) error {
	var args snapshotRenameArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.Instance), checkComponent(args.From), checkComponent(args.To)); err != nil {
		return err
	}
	from, err := exists(t.snapshotPath(args.Instance, args.From))
	if err == nil && !from {
		err = t.renameEntry(args)
	}
	if err != nil {
		return err
	}
	return clearEntry(ctx, e)
}
