package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opInstanceKeep = "instance-keep"
	opVolumeKeep   = "volume-keep"
)

// keepArgs are a snapshot that keeps what a restore replaces, and the id of the volume that it is made of.
type keepArgs struct {
	Owner    string `json:"owner"` // an instance's or a custom volume's name
	Snapshot string `json:"snapshot"`
	ID       uint64 `json:"id"`
}

// KeepInstance calls take, which makes the snapshot snap of an instance, and then replace, which puts another volume into the
// place of the instance's. When either fails, or is killed, and the instance is still what it was, that snapshot goes again.
func (t *Tree) KeepInstance(ctx context.Context, name, snap string, take, replace func() error) error {
	return t.keep(ctx, opInstanceKeep, t.InstancePath(name), keepArgs{Owner: name, Snapshot: snap}, take, replace)
}

// KeepVolume is KeepInstance of a custom volume.
func (t *Tree) KeepVolume(ctx context.Context, name, snap string, take, replace func() error) error {
	return t.keep(ctx, opVolumeKeep, t.VolumePath(name), keepArgs{Owner: name, Snapshot: snap}, take, replace)
}

func (t *Tree) keep(ctx context.Context, op, path string, args keepArgs, take, replace func() error) error {
	sub, err := btrfs.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot keep %s: %w", args.Owner, err)
	}
	args.ID = sub.ID
	// With the intent lost and the snapshot not, nobody would know what the snapshot is.
	e, err := journal.Begin(ctx, t.staging(), op, args)
	if err != nil {
		return fmt.Errorf("cannot keep %s: %w", args.Owner, err)
	}
	crash.Point("tree.keep.begun")
	if err = take(); err != nil {
		return errors.Join(err, e.Done())
	}
	crash.Point("tree.keep.taken")
	err = replace()
	crash.Point("tree.keep.replaced")
	if err != nil {
		if rerr := t.dropKept(context.WithoutCancel(ctx), op, args); rerr != nil {
			return errors.Join(err, rerr, e.Close()) // the next command goes on
		}
	}
	return errors.Join(err, e.Done())
}

// dropKept deletes the snapshot that keeps a volume which is still in its place.
func (t *Tree) dropKept(ctx context.Context, op string, args keepArgs) error {
	volume, snap, remove := t.InstancePath(args.Owner), t.snapshotPath(args.Owner, args.Snapshot), t.DeleteSnapshot
	if op == opVolumeKeep {
		volume, remove = t.VolumePath(args.Owner), t.DeleteVolumeSnapshot
		snap = filepath.Join(t.snapshotsIn(customs(), volumeDir(args.Owner)), args.Snapshot)
	}
	there, err := exists(snap)
	if err != nil || !there {
		return err
	}
	sub, err := btrfs.Stat(volume)
	if err != nil || sub.ID != args.ID {
		return err
	}
	return remove(ctx, args.Owner, args.Snapshot)
}

// recoverKeep undoes what an unlocked entry tells of, if its restore has not happened.
func (t *Tree) recoverKeep(op string) journal.Handler {
	return func(ctx context.Context, e *journal.Entry) error {
		var args keepArgs
		if err := e.Args(&args); err != nil {
			return err
		}
		if err := errors.Join(checkComponent(args.Owner), checkComponent(args.Snapshot)); err != nil {
			return err
		}
		if err := t.dropKept(ctx, op, args); err != nil {
			return err
		}
		return clearEntry(ctx, e)
	}
}
