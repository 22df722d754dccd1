package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

// OwnerStage is an instance or a custom volume in the making, with its snapshots: the part of InstanceStage and VolumeStage that
// they have in common. It ends with their Commit or with Abort, or with the process: then the next Recover removes it.
type OwnerStage struct {
	tree  *Tree
	entry *journal.Entry
	place place
	// dir is the name of its directory in the place.
	dir string
	// received are the members in Dir: r0, r1 and so on.
	received []Member
	// parents are what streams may build on: UUIDs of subvolumes in Dir, by those that streams have for them.
	parents map[string]string
	// replaces is set when it takes the place of one that is there.
	replaces *replacing
}

// beginStage makes the entry of a stage for a name that is free.
func (t *Tree) beginStage(ctx context.Context, p place, dir, op string, args any) (OwnerStage, error) {
	if err := t.checkFreeIn(ctx, p, dir); err != nil {
		return OwnerStage{}, err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), op, args)
	if err != nil {
		return OwnerStage{}, err
	}
	crash.Point("tree.owner.begun")
	return OwnerStage{tree: t, entry: e, place: p, dir: dir}, nil
}

// Path is where the caller makes the volume: a writable subvolume.
func (s *OwnerStage) Path() string { return s.entry.Path(entryVolume) }

// Dir is a directory of the pool for what is made on the way. What is left in it goes with the stage.
func (s *OwnerStage) Dir() (string, error) {
	dir := s.entry.Path("work")
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return dir, err
}

// SnapshotPath is where the caller makes a snapshot: a read-only subvolume. Whether a new one may have that name is for the
// caller to look at.
func (s *OwnerStage) SnapshotPath(snap string) (string, error) {
	if err := checkComponent(snap); err != nil {
		return "", err
	}
	err := os.Mkdir(s.entry.Path(entrySnapshots), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return filepath.Join(s.entry.Path(entrySnapshots), snap), nil
}

// version is where the volume, or a snapshot of it, is made.
func (s *OwnerStage) version(snapshot string) (string, error) {
	if snapshot == "" {
		return s.Path(), nil
	}
	return s.SnapshotPath(snapshot)
}

// Has says whether that version of the volume was made.
func (s *OwnerStage) Has(snapshot string) bool {
	path, err := s.version(snapshot)
	if err != nil {
		return false
	}
	ok, err := isSubvolume(path)
	return err == nil && ok
}

// Sync writes what was staged to the disk: before the commit, so that a power cut leaves no volume with holes in its files.
func (s *OwnerStage) Sync() error { return btrfs.Sync(s.tree.mnt) }

// Root opens the directory that a version of the volume is to be written into: an empty subvolume, made for it.
func (s *OwnerStage) Root(snapshot string) (*os.File, error) {
	path, err := s.version(snapshot)
	if err == nil {
		err = btrfs.CreateSubvolume(path)
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// SealSnapshot makes a snapshot that was written read-only.
func (s *OwnerStage) SealSnapshot(snapshot string) error {
	path, err := s.version(snapshot)
	if err != nil {
		return err
	}
	return btrfs.SetReadOnly(path, true)
}

// Abort deletes what was staged. After a Commit that succeeded, and a second time, it does nothing.
func (s *OwnerStage) Abort() error {
	if s.entry == nil {
		return nil
	}
	e := s.entry
	s.entry = nil
	if err := s.tree.fetchSnapshots(e); err != nil {
		return errors.Join(err, e.Close()) // the next Recover undoes it
	}
	return abandon(e, nil)
}

// put moves what was staged into its place, with record writing what is known of it: its snapshots first, which nobody sees
// without it, and then the volume, which is the commit.
func (s *OwnerStage) put(ctx context.Context, record func(staged string) error) error {
	inode, err := dirInode(s.entry.Path(entrySnapshots))
	if err != nil {
		return err
	}
	staged := s.entry.Path(s.place.ownerName(inode, s.dir))
	if err := renameNew(s.Path(), staged); err != nil {
		return err
	}
	crash.Point("tree.owner.staged")
	if err := record(staged); err != nil {
		return err
	}
	crash.Point("tree.owner.recorded")
	if err := ctx.Err(); err != nil {
		return err
	}
	if where := s.tree.snapshotsIn(s.place, s.dir); inode != 0 {
		if err := removeIfEmpty(where); err != nil { // LXD leaves one
			return err
		}
		if err := renameNew(s.entry.Path(entrySnapshots), where); err != nil {
			return err
		}
		crash.Point("tree.owner.snapshots")
	}
	if err := renameNew(staged, s.tree.pathIn(s.place, s.dir)); err != nil {
		return err
	}
	crash.Point("tree.owner.moved")
	return nil
}

// end ends a stage that was committed.
func (s *OwnerStage) end(ctx context.Context) error {
	e := s.entry
	s.entry = nil
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("cannot clean up: %w", err), e.Close())
	}
	return e.Done()
}
