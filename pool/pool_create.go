package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// creating is the journal's record of what a pool that is being made, or
// deleted, lies on.
type creating struct {
	Name string `json:"name"`
	Kind string `json:"kind,omitempty"`
	Path string `json:"path"`
	// Kept says of a deletion that only the record goes: the pool is forgotten.
	Kept bool `json:"kept,omitempty"`
	// Dev and Inode identify the file once it exists; a file at Path that is
	// another one is the user's and stays.
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
	// UUID is that of a device's file system, which is chosen before it is made,
	// or of the one around a subvolume.
	UUID string `json:"uuid,omitempty"`
	// Subvolume identifies a directory's subvolume.
	Subvolume subvolumeIntent `json:"subvolume,omitzero"`
	// Left is what goes with a pool that is deleted or forgotten.
	Left leftBehind `json:"left,omitzero"`
}

// CreatePool makes a pool in a new sparse image file, on a block device, or in
// a subvolume of a btrfs file system that is there already, and lays it out as
// LXD lays out its pools. What is there already is refused and not touched: an
// existing file, a device that holds anything (unless source.wipe names it), a
// directory that is not empty.
//
// Order: intent, source, mount, layout, record (the commit). Killed before the
// record, the next command removes what is there. The intent knows a file by
// its inode, a device's file system by its UUID, and a subvolume by the name
// that it is made under.
func (s *System) CreatePool(ctx context.Context, o CreatePoolOptions) (err error) {
	if _, err := s.dir.LoadPool(o.Name); err == nil {
		return withHint(fmt.Errorf("cannot create pool %s: %w", o.Name, ErrExists), "poolctl pool list shows them")
	}
	plan, err := s.planPool(o)
	if err != nil {
		return fmt.Errorf("cannot create pool %q: %w", o.Name, err)
	}
	unlock, err := s.dir.LockPool(ctx, o.Name, false)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.dir.LoadPool(o.Name); err == nil { // another process made it while we waited
		return fmt.Errorf("cannot create pool %s: %w", o.Name, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	intent := plan.intent
	entry, err := journal.Begin(ctx, s.journalDir(), "pool-create", intent)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot create pool %s: %w", o.Name, err)
			if uerr := s.undoCreate(context.WithoutCancel(ctx), intent); uerr != nil {
				err = errors.Join(err, uerr, entry.Close()) // the next command undoes the rest
				return
			}
		}
		err = errors.Join(err, entry.Done())
	}()
	crash.Point("pool.create.begun")
	rec, err := s.makeSource(ctx, entry, &intent, plan)
	if err != nil {
		return err
	}
	crash.Point("pool.create.made")
	if err := s.mountPool(ctx, rec); err != nil {
		return err
	}
	crash.Point("pool.create.mounted")
	if err := s.startQuotas(ctx, rec); err != nil { // before anything is written that would count for nobody
		return err
	}
	crash.Point("pool.create.quotas")
	if err := layOut(s.dir.MountPoint(o.Name)); err != nil {
		return err
	}
	crash.Point("pool.create.laid-out")
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.savePool(rec)
}

// makeSource makes what the pool is to lie on, and returns its record.
func (s *System) makeSource(ctx context.Context, entry *journal.Entry, intent *creating, plan poolPlan) (state.PoolRecord, error) {
	rec := plan.rec
	switch rec.Kind {
	case state.PoolDevice:
		rec.UUID = intent.UUID
		return rec, makeDevice(ctx, plan)
	case state.PoolDirectory:
		err := makeSubvolume(entry, intent)
		rec.UUID, rec.SubvolumeID, rec.SubvolumeUUID = intent.UUID, intent.Subvolume.ID, intent.Subvolume.UUID
		rec.OwnSubvolume = intent.Subvolume.Own
		return rec, err
	}
	if err := makePoolFile(ctx, entry, intent, plan); err != nil {
		return rec, err
	}
	super, err := btrfs.ReadSuper(rec.Source)
	rec.UUID = super.UUID
	return rec, err
}

// layOut makes LXD's directories in a new pool.
func layOut(mnt string) error {
	t, err := tree.Open(mnt)
	if err != nil {
		return err
	}
	return errors.Join(t.Layout(), t.Close(), btrfs.Sync(mnt))
}

// undoCreate removes what an unfinished creation made, and only that.
func (s *System) undoCreate(ctx context.Context, in creating) error {
	return errors.Join(s.dropMountPoint(in.Name), s.removeSource(ctx, in, true))
}

// dropMountPoint ends the mount of a pool and removes its directory.
func (s *System) dropMountPoint(name string) error {
	mp := s.dir.MountPoint(name)
	mounted, err := isMountPoint(mp)
	if mounted {
		err = errors.Join(err, unix.Unmount(mp, 0))
	}
	if rerr := os.Remove(mp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// removeSource removes the file, the file system or the subvolume of a pool
// that is no more, or, with unmade, of one that was not finished. What is not
// the pool's own stays.
func (s *System) removeSource(ctx context.Context, in creating, unmade bool) error {
	switch in.Kind {
	case state.PoolDevice:
		return wipePool(in)
	case state.PoolDirectory:
		return s.removeSubvolume(ctx, in, unmade)
	}
	return removeOwnFile(in.Path, in.Dev, in.Inode)
}

// recoverCreate finishes or undoes the creation that an unlocked intent tells
// of: with its record there, it was done.
func (s *System) recoverCreate(ctx context.Context, e *journal.Entry) error {
	var in creating
	if err := e.Args(&in); err != nil {
		return err
	}
	rec, err := s.dir.LoadPool(in.Name)
	if err == nil && rec.Source == in.Path {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.undoCreate(ctx, in)
}

// removeOwnFile removes path if it is still the file with that device and
// inode; anything else there is not ours.
func removeOwnFile(path string, dev, inode uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	if inode == 0 || st.Dev != dev || st.Ino != inode {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a change of a directory's names durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
