package tree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opTrash = "trash"

// trashArgs are the arguments of opTrash.
type trashArgs struct {
	Type     ObjectType `json:"type"`
	Owner    string     `json:"owner"`
	Snapshot string     `json:"snapshot,omitempty"`
}

func (a trashArgs) lot() lot { return lot{a.Type, a.Owner, a.Snapshot} }

// TrashInstance moves an instance into the trash, with its snapshots; fs.ErrNotExist when there is none. Its qgroups and
// limits stay as they are. Whether it runs is for the caller to look at.
func (t *Tree) TrashInstance(ctx context.Context, name string) error {
	return t.trash(ctx, lot{kind: TypeInstance, owner: name})
}

// TrashSnapshot moves a snapshot of an instance into the trash; fs.ErrNotExist when there is none.
func (t *Tree) TrashSnapshot(ctx context.Context, name, snap string) error {
	return t.trash(ctx, lot{TypeInstanceSnapshot, name, snap})
}

// TrashVolume moves a custom volume into the trash, with its snapshots; fs.ErrNotExist when there is none.
func (t *Tree) TrashVolume(ctx context.Context, name string) error {
	return t.trash(ctx, lot{kind: TypeVolume, owner: volumeDir(name)})
}

// TrashVolumeSnapshot moves a snapshot of a custom volume into the trash; fs.ErrNotExist when there is none.
func (t *Tree) TrashVolumeSnapshot(ctx context.Context, name, snap string) error {
	return t.trash(ctx, lot{TypeVolumeSnapshot, volumeDir(name), snap})
}

// TrashImage moves an image into the trash; fs.ErrNotExist when there is none.
func (t *Tree) TrashImage(ctx context.Context, fingerprint string) error {
	return t.trash(ctx, lot{kind: TypeImage, owner: fingerprint})
}

func (t *Tree) trash(ctx context.Context, l lot) error {
	if err := t.putIntoTrash(ctx, l); err != nil {
		return fmt.Errorf("cannot delete %s: %w", describe(l.kind, l.name()), err)
	}
	return nil
}

// describe is a name with the word for what it is.
func describe(kind ObjectType, name string) string {
	words := map[ObjectType]string{TypeInstance: "instance", TypeVolume: "volume", TypeImage: "image", TypeInstanceSnapshot: "snapshot", TypeVolumeSnapshot: "snapshot"}
	return words[kind] + " " + name
}

// putIntoTrash makes a can in a journal entry, moves the volume into it, which is the commit, and what belongs to the volume
// after it, and the can into the trash. The volume of a snapshot or of an image is writable there.
func (t *Tree) putIntoTrash(ctx context.Context, l lot) error {
	if err := t.checkThere(l); err != nil {
		return err
	}
	inode := uint64(0)
	if l.hasSnapshots() {
		var err error
		if inode, err = dirInode(t.snapshotsIn(l.place(), l.owner)); err != nil {
			return err
		}
	}
	begin := journal.BeginUnsynced
	if l.isReadOnly() {
		begin = journal.Begin // what was made writable cannot be told from the entry
	}
	e, err := begin(ctx, t.staging(), opTrash, trashArgs{l.kind, l.owner, l.snap})
	if err != nil {
		return err
	}
	crash.Point("tree.trash.begun")
	c := newCan(e.Dir(), inode)
	if err = t.prepareCan(c, l); err == nil {
		crash.Point("tree.trash.prepared")
		err = ctx.Err()
	}
	if err == nil {
		err = moveOut(t.at(l), c.volume(l))
	}
	if err != nil {
		if uerr := t.leaveCan(c, l); uerr != nil {
			return errors.Join(err, uerr, e.Close()) // the next Recover undoes it
		}
		return abandon(e, err)
	}
	crash.Point("tree.trash.moved")
	if err := t.fillCan(e, c, l); errors.Is(err, unix.ENOSPC) {
		return e.Close() // it is deleted; the rest is for the next Recover that has room for it
	} else if err != nil {
		return errors.Join(fmt.Errorf("it is deleted, but not in the trash yet: %w", err), e.Close())
	}
	return e.Done()
}

// checkThere refuses what is not there.
func (t *Tree) checkThere(l lot) error {
	if err := l.check(); err != nil {
		return err
	}
	switch l.kind {
	case TypeImage:
		_, err := t.Image(l.owner)
		return err
	case TypeInstance: // LXD has plain directories on other drivers
		is, err := isDirectory(t.at(l))
		if err == nil && !is {
			err = &fs.PathError{Op: "delete", Path: t.at(l), Err: fs.ErrNotExist}
		}
		return err
	default:
		is, err := isSubvolume(t.at(l))
		if err == nil && !is {
			err = &fs.PathError{Op: "delete", Path: t.at(l), Err: fs.ErrNotExist}
		}
		return err
	}
}

// prepareCan makes the can and puts what belongs to the volume into it, in so far as it can be there before the volume.
func (t *Tree) prepareCan(c can, l lot) error {
	if err := c.make(l); err != nil {
		return err
	}
	crash.Point("tree.trash.made")
	switch l.kind {
	case TypeVolume:
		return t.holdVolumeRecord(c.path(canVolumeRecord), l.owner)
	case TypeImage:
		if err := os.Link(t.imageRecordPath(l.owner), c.path(canImageRecord)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return ignoreNotExist(renameNew(t.originals(l.owner), c.path(canOriginals)))
	case TypeInstanceSnapshot:
		in, err := t.Instance(l.owner)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(in.Snapshots, func(s Snapshot) bool { return s.Name == l.snap })
		if i < 0 {
			return &fs.PathError{Op: "delete", Path: t.at(l), Err: fs.ErrNotExist}
		}
		return c.write(canSnapshotRecord, in.Snapshots[i])
	case TypeVolumeSnapshot:
		v, err := t.volumeAt(l.owner)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(v.Snapshots, func(s VolumeSnapshot) bool { return s.Name == l.snap })
		if i < 0 {
			return &fs.PathError{Op: "delete", Path: t.at(l), Err: fs.ErrNotExist}
		}
		return c.write(canSnapshotRecord, v.Snapshots[i])
	default:
		return nil
	}
}

func (c can) write(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(c.dir, name, raw, 0o600)
}

// leaveCan puts back what the can of a lot has whose volume is in its place.
func (t *Tree) leaveCan(c can, l lot) error {
	if l.kind == TypeImage {
		if err := ignoreNotExist(renameNew(c.path(canOriginals), t.originals(l.owner))); err != nil {
			return err
		}
	}
	if l.isReadOnly() {
		return protect(t.at(l))
	}
	return nil
}

// fillCan moves what belongs to the volume in the can there as well, if it is in its place and nobody else's by now, and then
// the can into the trash.
func (t *Tree) fillCan(e *journal.Entry, c can, l lot) error {
	if err := t.fetchRest(e, c, l, l); err != nil {
		return err
	}
	crash.Point("tree.trash.filled")
	return t.keepCan(c)
}

// keepCan moves the can into the trash.
func (t *Tree) keepCan(c can) error {
	to := t.trashPath(filepath.Base(c.dir))
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err // a pool of an older version has no such directory
	}
	err := renameNew(c.dir, to)
	crash.Point("tree.trash.kept")
	return err
}

// fetchRest moves into the can of l what belongs to its volume and is where it is of a volume that is at.
func (t *Tree) fetchRest(e *journal.Entry, c can, l, at lot) error {
	switch l.kind {
	case TypeImage:
		return t.fetchImage(c, l)
	case TypeInstanceSnapshot:
		return errors.Join(t.syncSnapshots(at.owner, nil), removeIfEmpty(t.snapshotDir(at.owner)))
	case TypeVolumeSnapshot:
		// An entry that is left in the record means nothing; a record that cannot be read is no reason to fail.
		_ = t.changeVolumeRecord(e, at.owner, "", func(*volumeRecord) error { return nil })
		return removeIfEmpty(t.snapshotsIn(customs(), at.owner))
	case TypeVolume:
		if err := t.fetchVolumeRecord(c.path(canVolumeRecord), at.owner); err != nil {
			return err
		}
		crash.Point("tree.trash.record")
	default:
	}
	if c.inode == 0 {
		return nil
	}
	from := t.snapshotsIn(l.place(), at.owner)
	inode, err := dirInode(from)
	if err == nil && inode == c.inode {
		err = renameNew(from, c.snapshots(l))
	}
	return err
}

// fetchImage takes the record of an image away, and its original files, unless there is an image again.
func (t *Tree) fetchImage(c can, l lot) error {
	there, err := exists(t.ImagePath(l.owner))
	if err != nil || there {
		return err
	}
	if err := ignoreNotExist(renameNew(t.originals(l.owner), c.path(canOriginals))); err != nil {
		return err
	}
	return ignoreNotExist(os.Remove(t.imageRecordPath(l.owner)))
}

// recoverTrash finishes a deletion whose volume is in the can, and undoes one whose volume is not.
func (t *Tree) recoverTrash(ctx context.Context, e *journal.Entry) error {
	var args trashArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	l := args.lot()
	if err := l.check(); err != nil {
		return err
	}
	if err := t.finishCans(e, func(c can) error { return t.leaveCan(c, l) }); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// finishCans moves the cans in an entry that have a volume into the trash, with what belongs to it, and calls leave, if not
// nil, for those that have none.
func (t *Tree) finishCans(e *journal.Entry, leave func(c can) error) error {
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, canPrefix) {
			continue
		}
		c, err := parseCan(e.Path(name))
		if err != nil {
			return err
		}
		l, err := c.lot()
		if err == nil {
			err = t.fillCan(e, c, l)
		} else if errors.Is(err, fs.ErrNotExist) && leave != nil {
			err = leave(c)
		}
		if err = ignoreNotExist(err); err != nil {
			return err
		}
	}
	return nil
}
