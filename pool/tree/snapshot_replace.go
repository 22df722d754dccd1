package tree

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opSnapshotReplace = "snapshot-replace"

// ReplaceSnapshot makes a snapshot of an instance in the place of the one that has its name. Killed in between, Recover
// removes the new one for as long as the old one is there, and gives it its name otherwise. Errors are those of
// CreateSnapshot.
func (t *Tree) ReplaceSnapshot(ctx context.Context, name, snap string, o SnapshotOptions) error {
	if _, err := t.SnapshotPath(name, snap); err != nil {
		return fmt.Errorf("cannot replace snapshot %s/%s: %w", name, snap, err)
	}
	args := snapshotRenameArgs{Instance: name, From: "." + snap + ".new", To: snap}
	for i := 1; ; i++ {
		there, err := exists(t.snapshotPath(name, args.From))
		if err != nil {
			return fmt.Errorf("cannot replace snapshot %s/%s: %w", name, snap, err)
		}
		if !there {
			break
		}
		args.From = "." + snap + ".new" + strconv.Itoa(i)
	}
	e, err := journal.Begin(ctx, t.staging(), opSnapshotReplace, args) // a power cut must not leave both
	if err != nil {
		return fmt.Errorf("cannot replace snapshot %s/%s: %w", name, snap, err)
	}
	crash.Point("tree.snapshotreplace.begun")
	if err := t.CreateSnapshot(ctx, name, args.From, o); err != nil {
		return errors.Join(err, e.Done())
	}
	crash.Point("tree.snapshotreplace.made")
	err = t.DeleteSnapshot(ctx, name, snap)
	crash.Point("tree.snapshotreplace.deleted")
	if ferr := t.finishReplaceSnapshot(context.WithoutCancel(ctx), args); ferr != nil {
		return errors.Join(err, ferr, e.Close()) // the next command goes on
	}
	return errors.Join(err, e.Done())
}

// finishReplaceSnapshot leaves one of the two snapshots, with the name that it is to have.
func (t *Tree) finishReplaceSnapshot(ctx context.Context, args snapshotRenameArgs) error {
	made, err := exists(t.snapshotPath(args.Instance, args.From))
	if err != nil || !made {
		return err
	}
	old, err := exists(t.snapshotPath(args.Instance, args.To))
	switch {
	case err != nil:
		return err
	case old:
		return t.DeleteSnapshot(ctx, args.Instance, args.From)
	}
	return t.RenameSnapshot(ctx, args.Instance, args.From, args.To)
}

// recoverSnapshotReplace finishes or undoes what an unlocked entry tells of.
func (t *Tree) recoverSnapshotReplace(ctx context.Context, e *journal.Entry) error {
	var args snapshotRenameArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.Instance), checkComponent(args.From), checkComponent(args.To)); err != nil {
		return err
	}
	if err := t.finishReplaceSnapshot(ctx, args); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}
