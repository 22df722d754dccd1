package tree

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opVolumeSnapshotReplace = "volume-snapshot-replace"

// snapshotReplaceArgs are the snapshot of a custom volume that is replaced, and what the new one is called until the old one is gone.
type snapshotReplaceArgs struct {
	Volume   string `json:"volume"` // its name
	Snapshot string `json:"snapshot"`
	New      string `json:"new"`
}

// ReplaceVolumeSnapshot makes a snapshot of a custom volume in the place of the one that has its name. Killed in between,
// Recover removes the new one for as long as the old one is there, and gives it its name otherwise. Errors are those of
// CreateVolumeSnapshot.
func (t *Tree) ReplaceVolumeSnapshot(ctx context.Context, name string, snap VolumeSnapshot) error {
	v, err := t.readableVolume(name)
	if err != nil {
		return fmt.Errorf("cannot replace snapshot %s/%s: %w", name, snap.Name, err)
	}
	args := snapshotReplaceArgs{name, snap.Name, unusedSnapshot(v, "."+snap.Name+".new")}
	e, err := journal.Begin(ctx, t.staging(), opVolumeSnapshotReplace, args) // a power cut must not leave both
	if err != nil {
		return fmt.Errorf("cannot replace snapshot %s/%s: %w", name, snap.Name, err)
	}
	crash.Point("tree.volumesnapshotreplace.begun")
	snap.Name = args.New
	if err := t.CreateVolumeSnapshot(ctx, name, snap); err != nil {
		return errors.Join(err, e.Done())
	}
	crash.Point("tree.volumesnapshotreplace.made")
	err = t.DeleteVolumeSnapshot(ctx, name, args.Snapshot)
	crash.Point("tree.volumesnapshotreplace.deleted")
	if ferr := t.finishSnapshotReplace(context.WithoutCancel(ctx), args); ferr != nil {
		return errors.Join(err, ferr, e.Close()) // the next command goes on
	}
	return errors.Join(err, e.Done())
}

// finishSnapshotReplace leaves one of the two snapshots, with the name that it is to have.
func (t *Tree) finishSnapshotReplace(ctx context.Context, args snapshotReplaceArgs) error {
	where := t.snapshotsIn(customs(), volumeDir(args.Volume))
	made, err := exists(where + "/" + args.New)
	if err != nil || !made {
		return err
	}
	old, err := exists(where + "/" + args.Snapshot)
	switch {
	case err != nil:
		return err
	case old:
		return t.DeleteVolumeSnapshot(ctx, args.Volume, args.New)
	}
	return t.RenameVolumeSnapshot(args.Volume, args.New, args.Snapshot)
}

// recoverVolumeSnapshotReplace finishes or undoes what an unlocked entry tells of.
func (t *Tree) recoverVolumeSnapshotReplace(ctx context.Context, e *journal.Entry) error {
	var args snapshotReplaceArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.Volume), checkComponent(args.Snapshot), checkComponent(args.New)); err != nil {
		return err
	}
	if err := t.finishSnapshotReplace(ctx, args); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// unusedSnapshot is the name, or one made of it that no snapshot has.
func unusedSnapshot(v Volume, name string) string {
	try := name
	for i := 1; slices.ContainsFunc(v.Snapshots, func(sn VolumeSnapshot) bool { return sn.Name == try }); i++ {
		try = name + strconv.Itoa(i)
	}
	return try
}
