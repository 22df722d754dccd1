package tree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opUndelete = "undelete"

// UndeleteOptions say how something comes out of the trash.
type UndeleteOptions struct {
	// Name is what it is to be called; "" for what it was called. Of a snapshot it is NAME/SNAP, where NAME is an instance or
	// a custom volume that exists. An image has its fingerprint.
	Name string
	// Instance, if not nil, changes the record that an instance is to have.
	Instance func(*Instance) error
	// Image, if not nil, changes the record that an image is to have.
	Image func(*ImageRecord) error
}

// undeleteArgs are the arguments of opUndelete.
type undeleteArgs struct {
	Type       ObjectType `json:"type"`
	Owner      string     `json:"owner"`
	Snapshot   string     `json:"snapshot,omitempty"`
	ToOwner    string     `json:"to_owner"`
	ToSnapshot string     `json:"to_snapshot,omitempty"`
}

func (a undeleteArgs) lot() lot { return lot{a.Type, a.Owner, a.Snapshot} }
func (a undeleteArgs) to() lot  { return lot{a.Type, a.ToOwner, a.ToSnapshot} }

// Undelete brings back what has that id in the trash: fs.ErrNotExist when nothing has, or when the owner of a snapshot does
// not exist; fs.ErrExist when the name is taken; ErrInvalidName.
//
// Order: the can moves into a journal entry, its records and snapshots to their places, and the volume to its own, which is the
// commit.
func (t *Tree) Undelete(ctx context.Context, id string, o UndeleteOptions) error {
	it, err := t.trashed(id)
	if err != nil {
		return fmt.Errorf("cannot undelete %s: %w", id, err)
	}
	if err := t.undelete(ctx, id, o); err != nil {
		return fmt.Errorf("cannot undelete %s: %w", describe(it.Type, it.Name), err)
	}
	return nil
}

func (t *Tree) undelete(ctx context.Context, id string, o UndeleteOptions) error {
	kept, err := parseCan(t.trashPath(id))
	if err != nil {
		return err
	}
	l, err := kept.lot()
	if err != nil {
		return err
	}
	to, err := l.called(o.Name)
	if err == nil {
		err = t.checkUndelete(ctx, to)
	}
	if err != nil {
		return err
	}
	args := undeleteArgs{l.kind, l.owner, l.snap, to.owner, to.snap}
	e, err := journal.Begin(ctx, t.staging(), opUndelete, args)
	if err != nil {
		return err
	}
	crash.Point("tree.undelete.begun")
	c := kept
	c.dir = e.Path(id)
	if err := renameNew(kept.dir, c.dir); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.undelete.taken")
	if err = t.placeRest(e, c, l, to, o); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = renameNew(c.volume(l), t.at(to))
	}
	if err != nil {
		return t.backToTrash(e, c, l, to, err)
	}
	crash.Point("tree.undelete.moved")
	if err := t.endUndelete(context.WithoutCancel(ctx), e, c, to); err != nil {
		return errors.Join(err, e.Close()) // the next Recover finishes it
	}
	return e.Done()
}

// called is the lot under another name; "" for the one that it has.
func (l lot) called(name string) (lot, error) {
	to := l
	var err error
	switch {
	case name == "" || l.kind == TypeImage:
	case l.kind == TypeInstance:
		to.owner, err = name, ValidateInstanceName(name)
	case l.kind == TypeVolume:
		to.owner, err = volumeDir(name), ValidateVolumeName(name)
	default:
		owner, snap := filepath.Split(name)
		owner = filepath.Clean(owner)
		if err = errors.Join(checkComponent(owner), ValidateSnapshotName(snap)); err == nil && l.kind == TypeVolumeSnapshot {
			owner = volumeDir(owner)
		}
		to.owner, to.snap = owner, snap
	}
	return to, err
}

// checkUndelete refuses a name that is taken, and a snapshot of what is not there.
func (t *Tree) checkUndelete(ctx context.Context, to lot) error {
	if to.hasSnapshots() {
		return t.checkFreeIn(ctx, to.place(), to.owner)
	}
	if to.isSnapshot() {
		owner := t.pathIn(to.place(), to.owner)
		if is, err := isDirectory(owner); err != nil || !is {
			return errors.Join(err, &fs.PathError{Op: "open", Path: owner, Err: fs.ErrNotExist})
		}
	}
	there, err := exists(t.at(to))
	if err == nil && there {
		err = &fs.PathError{Op: "undelete", Path: t.at(to), Err: fs.ErrExist}
	}
	return err
}

// placeRest gives its place to what belongs to the volume in the can.
func (t *Tree) placeRest(e *journal.Entry, c can, l, to lot, o UndeleteOptions) error {
	switch l.kind {
	case TypeImage:
		return t.placeImage(e, c, l, o.Image)
	case TypeInstanceSnapshot, TypeVolumeSnapshot:
		where := t.snapshotsIn(to.place(), to.owner)
		if err := os.Mkdir(where, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		crash.Point("tree.undelete.directory")
		if l.kind == TypeVolumeSnapshot {
			return t.recordVolumeSnapshot(e, c, to)
		}
		return nil
	case TypeInstance:
		if err := t.nameRecord(c.volume(l), to.owner, o.Instance); err != nil {
			return err
		}
	case TypeVolume:
		if held, err := fileInode(c.path(canVolumeRecord)); err != nil {
			return err
		} else if held != 0 {
			if err := t.linkVolumeRecord(e, c.path(canVolumeRecord), to.owner); err != nil {
				return err
			}
		}
	default:
	}
	crash.Point("tree.undelete.recorded")
	if c.inode == 0 {
		return nil
	}
	where := t.snapshotsIn(to.place(), to.owner)
	if err := removeIfEmpty(where); err != nil { // LXD leaves one
		return err
	}
	err := ignoreNotExist(renameNew(c.snapshots(l), where))
	crash.Point("tree.undelete.snapshots")
	return err
}

// nameRecord writes the record of an instance that is to be called name. One that cannot be read stays as it is.
func (t *Tree) nameRecord(volume, name string, change func(*Instance) error) error {
	rec, err := t.readRecord(volume, brief)
	if err != nil {
		return nil //nolint:nilerr // it was Broken before, and is again
	}
	in := *rec.Container
	in.Name = name
	if change != nil {
		if err := change(&in); err != nil {
			return err
		}
	}
	in.Name = name
	return t.writeRecord(volume, rec.doc, &in, rec.entries)
}

// placeImage gives an image its original files and its record back, which mean nothing before the volume is there.
func (t *Tree) placeImage(e *journal.Entry, c can, l lot, change func(*ImageRecord) error) error {
	if err := os.Mkdir(filepath.Dir(t.originals(l.owner)), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := ignoreNotExist(renameNew(c.path(canOriginals), t.originals(l.owner))); err != nil {
		return err
	}
	crash.Point("tree.undelete.originals")
	raw, err := readFile(c.path(canImageRecord), maxImageRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // one of LXD's
	}
	rec := parseStagedRecord(raw)
	if err != nil || rec == nil {
		return err // it was damaged before: what its metadata.yaml says stays
	}
	rec.Fingerprint, rec.Replaces = l.owner, ""
	if change != nil {
		if err := change(rec); err != nil {
			return err
		}
	}
	if raw, err = encodeImageRecord(*rec); err != nil {
		return err
	}
	if err := t.withReserve(func() error { return writeFile(e.Dir(), entryNewRecord, raw, 0o600) }); err != nil {
		return err
	}
	return os.Rename(e.Path(entryNewRecord), t.imageRecordPath(l.owner))
}

// recordVolumeSnapshot puts the entry of a snapshot into the record of its custom volume.
func (t *Tree) recordVolumeSnapshot(e *journal.Entry, c can, to lot) error {
	var snap VolumeSnapshot
	if raw, err := readFile(c.path(canSnapshotRecord), maxVolumeRecord); err != nil || json.Unmarshal(raw, &snap) != nil {
		return ignoreNotExist(err) // then its subvolume has to do
	}
	snap.Name = to.snap
	return t.changeVolumeRecord(e, to.owner, to.snap, func(rec *volumeRecord) error {
		rec.Snapshots = slices.DeleteFunc(rec.Snapshots, func(s VolumeSnapshot) bool { return s.Name == to.snap })
		rec.Snapshots = append(rec.Snapshots, snap)
		return nil
	})
}

// endUndelete finishes what has its volume in its place.
func (t *Tree) endUndelete(ctx context.Context, e *journal.Entry, c can, to lot) error {
	if to.isReadOnly() {
		if err := protect(t.at(to)); err != nil {
			return err
		}
		crash.Point("tree.undelete.readonly")
	}
	switch to.kind {
	case TypeInstance:
		if err := t.syncSnapshots(to.owner, nil); err != nil {
			return err
		}
	case TypeInstanceSnapshot:
		if err := t.syncSnapshots(to.owner, readSnapshotEntry(c.path(canSnapshotRecord), to.snap)); err != nil {
			return err
		}
	default:
	}
	crash.Point("tree.undelete.ended")
	return clearEntry(ctx, e)
}

// readSnapshotEntry reads the entry of a snapshot from its can; nil when it cannot be read: the snapshot's own record has most
// of it.
func readSnapshotEntry(path, name string) *Snapshot {
	var snap Snapshot
	raw, err := readFile(path, maxRecord)
	if err != nil || json.Unmarshal(raw, &snap) != nil {
		return nil
	}
	snap.Name = name
	snap.Config = maps.Clone(snap.Config)
	snap.normalise()
	return &snap
}

// backToTrash undoes what was not committed, and returns cause with what went wrong in that.
func (t *Tree) backToTrash(e *journal.Entry, c can, l, to lot, cause error) error {
	err := t.fetchRest(e, c, l, to)
	if err == nil {
		err = t.keepCan(c)
	}
	if err != nil {
		return errors.Join(cause, err, e.Close()) // the next Recover undoes it
	}
	return abandon(e, cause)
}

// recoverUndelete undoes an undelete whose volume is in the can, and finishes one whose volume is not.
func (t *Tree) recoverUndelete(ctx context.Context, e *journal.Entry) error {
	var args undeleteArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	l, to := args.lot(), args.to()
	if err := errors.Join(l.check(), to.check()); err != nil {
		return err
	}
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if journal.OwnFile(name) {
			continue
		}
		c, err := parseCan(e.Path(name))
		if errors.Is(err, errNoCan) {
			continue // a record in the making
		} else if err != nil {
			return err
		}
		if _, err := c.lot(); errors.Is(err, fs.ErrNotExist) {
			return t.endUndelete(ctx, e, c, to)
		} else if err != nil {
			return err
		}
		if err := t.fetchRest(e, c, l, to); err != nil {
			return err
		}
		if err := t.keepCan(c); err != nil {
			return err
		}
	}
	return clearEntry(ctx, e)
}
