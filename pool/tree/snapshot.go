package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opSnapshotCreate = "snapshot-create"
	opSnapshotDelete = "snapshot-delete"
)

// SnapshotOptions are what a snapshot may be given when it is made.
type SnapshotOptions struct {
	// ExpiresAt is when it may be deleted; zero: never.
	ExpiresAt time.Time
	// Scheduled marks it, by ScheduledKey, as one that a schedule made and that retention may delete.
	Scheduled bool
	// Still, if not nil, calls do while nothing writes to the instance, for as long as that can be had: as many of the
	// subvolumes in it are taken at one moment then.
	Still func(do func() error) error
}

// ScheduledKey is a key in the configuration of a snapshot, "true" where a schedule made it. An instance that is restored to
// it, or copied from it, does not get it.
const ScheduledKey = "user.poolctl.scheduled"

// snapshotArgs are the arguments of opSnapshotCreate.
type snapshotArgs struct {
	Instance string `json:"instance"`
	// Snapshot is the entry for the instance's record.
	Snapshot Snapshot `json:"snapshot"`
}

// Snapshots lists the snapshots of an instance, oldest first; fs.ErrNotExist when there is no such instance.
func (t *Tree) Snapshots(name string) ([]Snapshot, error) {
	in, err := t.Instance(name)
	if err != nil {
		return nil, err
	}
	return in.Snapshots, nil
}

// CreateSnapshot makes the read-only snapshot snap of the instance name, which may be running. A name that is taken is
// fs.ErrExist, an instance that is not there fs.ErrNotExist, a bad name ErrInvalidName.
func (t *Tree) CreateSnapshot(ctx context.Context, name, snap string, o SnapshotOptions) error {
	if err := ValidateSnapshotName(snap); err != nil {
		return err
	}
	if err := t.createSnapshot(ctx, name, snap, o); err != nil {
		return fmt.Errorf("cannot create snapshot %s/%s: %w", name, snap, err)
	}
	return nil
}

func (t *Tree) createSnapshot(ctx context.Context, name, snap string, o SnapshotOptions) error {
	in, err := t.InstanceAlone(name)
	if err != nil {
		return err
	}
	if in.Broken != nil {
		return in.Broken
	}
	path := t.snapshotPath(name, snap)
	if there, err := exists(path); err != nil {
		return err
	} else if there {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	args := snapshotArgs{name, in.snapshotOf(snap, time.Now().UTC())}
	args.Snapshot.ExpiresAt = o.ExpiresAt
	if o.Scheduled {
		args.Snapshot.Config = maps.Clone(args.Snapshot.Config)
		args.Snapshot.Config[ScheduledKey] = "true"
	}
	begin := journal.BeginUnsynced
	if !o.ExpiresAt.IsZero() {
		begin = journal.Begin // the rest of the entry can be told from the snapshot itself
	}
	e, err := begin(ctx, t.staging(), opSnapshotCreate, args)
	if err != nil {
		return err
	}
	crash.Point("tree.snapshot.begun")
	take := taking{from: t.InstancePath(name), dir: t.snapshotDir(name), name: snap, args: args, still: o.Still}
	if err := t.takeSnapshot(ctx, e, take); err != nil {
		return t.undoSnapshot(e, name, err)
	}
	crash.Point("tree.snapshot.taken")
	if err := t.recordSnapshot(name, args.Snapshot); err != nil {
		err = errors.Join(err, btrfs.DeleteTree(context.WithoutCancel(ctx), path))
		return t.undoSnapshot(e, name, err)
	}
	crash.Point("tree.snapshot.recorded")
	return e.Done()
}

func (t *Tree) undoSnapshot(e *journal.Entry, name string, cause error) error {
	return abandon(e, errors.Join(cause, removeIfEmpty(t.snapshotDir(name))))
}

// taking is a snapshot to make.
type taking struct {
	from      string // the volume
	dir, name string // the snapshot's directory, which is made when it is missing, and name
	args      any    // of the journal entry
	still     func(do func() error) error
}

// take calls do, while nothing writes if that can be had.
func (t taking) take(do func() error) error {
	if t.still == nil {
		return do()
	}
	return t.still(do)
}

// takeSnapshot makes the snapshot: at its place by one ioctl, or, when the volume has subvolumes in it, in the entry,
// from where it is renamed. Only then it is made read-only: a read-only one cannot be renamed.
func (t *Tree) takeSnapshot(ctx context.Context, e *journal.Entry, take taking) error {
	path := filepath.Join(take.dir, take.name)
	nested, err := btrfs.List(take.from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(take.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	crash.Point("tree.snapshot.dir")
	if len(nested) == 0 {
		return take.take(func() error { return btrfs.Snapshot(take.from, path, true) })
	}
	err = take.take(func() error { return btrfs.SnapshotTree(ctx, take.from, e.Path(entryVolume), false) })
	if err != nil {
		return err
	}
	// What Recover has to make read-only is no longer to be seen from the entry once the volume has moved.
	if err := e.Update(take.args); err != nil {
		return err
	}
	crash.Point("tree.snapshot.staged")
	if err := renameNew(e.Path(entryVolume), path); err != nil {
		return err
	}
	crash.Point("tree.snapshot.moved")
	if err := freezeVolumes(ctx, path); err != nil {
		return errors.Join(err, btrfs.DeleteTree(context.WithoutCancel(ctx), path))
	}
	return nil
}

// recoverSnapshotCreate finishes a snapshot that is in its place, and deletes one that is not.
func (t *Tree) recoverSnapshotCreate(ctx context.Context, e *journal.Entry) error {
	var args snapshotArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.Instance), checkComponent(args.Snapshot.Name)); err != nil {
		return err
	}
	err := finishSnapshot(ctx, t.snapshotPath(args.Instance, args.Snapshot.Name))
	if err == nil {
		err = t.syncSnapshots(args.Instance, &args.Snapshot)
	}
	if err = errors.Join(err, removeIfEmpty(t.snapshotDir(args.Instance))); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// finishSnapshot makes the snapshot at path, if there is one, read-only with all that is in it.
func finishSnapshot(ctx context.Context, path string) error {
	taken, err := isSubvolume(path)
	if err == nil && taken {
		err = freezeVolumes(ctx, path)
	}
	return err
}

// recordSnapshot lists a snapshot that was just made in the instance's record.
func (t *Tree) recordSnapshot(name string, made Snapshot) error {
	if done, err := t.appendSnapshot(name, made); done {
		return err
	}
	return t.listSnapshots(name, &made)
}

// syncSnapshots is listSnapshots for an instance that may be gone, or Broken: then it has no list to change.
func (t *Tree) syncSnapshots(name string, made *Snapshot) error {
	err := t.listSnapshots(name, made)
	if err != nil && t.hasNoList(name) {
		return nil
	}
	return err
}

// listSnapshots makes the list in the instance's record say what exists, with made, if not nil, as the entry of the
// snapshot of its name when there is none yet. `lxd recover` refuses an instance whose list and snapshots differ.
func (t *Tree) listSnapshots(name string, made *Snapshot) error {
	return t.withRecord(name, brief, func(rec record) error {
		recorded := slices.Clone(rec.entries)
		if made != nil && findEntry(recorded, made.Name) == nil {
			recorded = append(recorded, entry{Snapshot: *made})
		}
		snaps, err := t.listEntries(name, recorded)
		if err != nil {
			return err
		}
		if slices.EqualFunc(snaps, rec.entries, func(a, b entry) bool { return a.Name == b.Name }) {
			return nil
		}
		return t.writeRecord(t.InstancePath(name), rec.doc, rec.Container, snaps)
	})
}

// listEntries is mergeEntries with the snapshots' own records for those that are not recorded.
func (t *Tree) listEntries(name string, recorded []entry) ([]entry, error) {
	known := entriesByName(recorded)
	names, err := t.snapshotNames(name, known)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(recorded)
	for _, n := range names {
		if _, there := known[n]; !there {
			known[n] = len(all)
			all = append(all, entry{Snapshot: t.ownEntry(name, n)})
		}
	}
	return t.entriesNamed(name, names, all, known)
}

func (t *Tree) hasNoList(name string) bool {
	in, err := t.instance(name, false, brief)
	return errors.Is(err, fs.ErrNotExist) || err == nil && in.Broken != nil
}

// ownEntry is the entry of a snapshot as its own record has it; without a date, which is the subvolume's then.
func (t *Tree) ownEntry(name, snap string) Snapshot {
	rec, err := t.readRecord(t.snapshotPath(name, snap), alone)
	if err != nil {
		return Snapshot{Name: snap, Size: -1}
	}
	return rec.Container.snapshotOf(snap, time.Time{})
}

// DeleteSnapshot deletes one snapshot; fs.ErrNotExist when there is none.
func (t *Tree) DeleteSnapshot(ctx context.Context, name, snap string) error {
	path, err := t.SnapshotPath(name, snap)
	if err != nil {
		return fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err)
	}
	args := nameArgs{name, snap}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opSnapshotDelete, args)
	if err != nil {
		return fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err)
	}
	crash.Point("tree.snapshotdelete.begun")
	err = t.deleteVolume(ctx, e, path, args)
	if err == nil {
		crash.Point("tree.snapshotdelete.volume")
		err = errors.Join(t.syncWhenFreed(ctx, name), removeIfEmpty(t.snapshotDir(name)))
		if errors.Is(err, unix.ENOSPC) {
			return e.Close() // it is deleted; the list is for the next Recover that has room for it
		}
	}
	if err != nil {
		return t.undoDelete(e, path, fmt.Errorf("cannot delete snapshot %s/%s: %w", name, snap, err))
	}
	crash.Point("tree.snapshotdelete.recorded")
	return e.Done()
}

// syncWhenFreed is syncSnapshots after a deletion. In a full pool the room for the list may be what was deleted, which the
// kernel frees later.
func (t *Tree) syncWhenFreed(ctx context.Context, name string) error {
	err := t.syncSnapshots(name, nil)
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if err := btrfs.WaitDeleted(ctx, t.mnt); err != nil {
		return err
	}
	return t.syncSnapshots(name, nil)
}

// recoverSnapshotDelete finishes a delete whose volume is gone from its place, and undoes one whose volume is not.
func (t *Tree) recoverSnapshotDelete(ctx context.Context, e *journal.Entry) error {
	var args nameArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(checkComponent(args.Instance), checkComponent(args.Snapshot)); err != nil {
		return err
	}
	err := protect(t.snapshotPath(args.Instance, args.Snapshot))
	err = errors.Join(err, t.syncSnapshots(args.Instance, nil), removeIfEmpty(t.snapshotDir(args.Instance)))
	if err != nil {
		return err
	}
	return clearEntry(ctx, e)
}
