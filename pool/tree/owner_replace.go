package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opVolumeReplace   = "volume-replace"
	opInstanceReplace = "instance-replace"
)

// replacing are the arguments of opVolumeReplace and opInstanceReplace: the directory of the custom volume or instance that another
// one takes the place of, its id, and the inode numbers of the record that a custom volume has beside it and of the directory of
// its snapshots, 0 for what it does not have.
type replacing struct {
	Volume    string `json:"volume"`
	ID        uint64 `json:"id"`
	Record    uint64 `json:"record"`
	Snapshots uint64 `json:"snapshots"`
	// Keep is set when the snapshots stay.
	Keep bool `json:"keep"`
}

// StageReplacement begins a custom volume that Commit puts in the place of the one of that name, whose lock the caller has;
// fs.ErrNotExist when there is none. The snapshots become those of the stage, or stay, with keep. At no time is there no volume
// of that name.
//
// Order: the new record, in the entry (of an instance: in its volume); the exchange of the volumes, which is the commit; record
// and snapshots follow it; what was there before goes. Killed after the exchange, Recover goes on; before it, the stage goes.
func (t *Tree) StageReplacement(ctx context.Context, name string, keep bool) (*VolumeStage, error) {
	_, err := t.readableVolume(name)
	if err == nil {
		var s OwnerStage
		if s, err = t.beginReplacement(ctx, customs(), opVolumeReplace, volumeDir(name), keep); err == nil {
			return &VolumeStage{s, name}, nil
		}
	}
	return nil, fmt.Errorf("cannot replace volume %s: %w", name, err)
}

// StageInstanceReplacement is StageReplacement of an instance. Whether it runs is for the caller to look at.
func (t *Tree) StageInstanceReplacement(ctx context.Context, name string, keep bool) (*InstanceStage, error) {
	in, err := t.Instance(name)
	if err == nil {
		err = in.Broken
	}
	if err == nil {
		var s OwnerStage
		if s, err = t.beginReplacement(ctx, instances(), opInstanceReplace, name, keep); err == nil {
			return &InstanceStage{OwnerStage: s}, nil
		}
	}
	return nil, fmt.Errorf("cannot replace instance %s: %w", name, err)
}

func (t *Tree) beginReplacement(ctx context.Context, p place, op, dir string, keep bool) (OwnerStage, error) {
	args := replacing{Volume: dir, Keep: keep}
	sub, err := btrfs.Stat(t.pathIn(p, dir))
	if err == nil {
		args.ID = sub.ID
		args.Snapshots, err = dirInode(t.snapshotsIn(p, dir))
	}
	if err == nil && p == customs() {
		args.Record, err = fileInode(t.volumeRecordPath(dir))
	}
	if err != nil {
		return OwnerStage{}, err
	}
	e, err := journal.Begin(ctx, t.staging(), op, args)
	if err != nil {
		return OwnerStage{}, err
	}
	crash.Point("tree.replace.begun")
	return OwnerStage{tree: t, entry: e, place: p, dir: dir, replaces: &args}, nil
}

// RefreshVolume is CopyVolume to the name of a custom volume that is there, as StageReplacement has it: what is described by v
// takes its place, and its snapshots become those of v if from takes snapshots along, and stay otherwise.
func (t *Tree) RefreshVolume(ctx context.Context, v Volume, from Source, setup func(path string) error) error {
	s, err := t.StageReplacement(ctx, v.Name, !from.Snapshots)
	if err != nil {
		return err
	}
	return t.copyInto(ctx, s, v, from, setup)
}

// RefreshInstance is CopyInstance to the name of an instance that is there, as RefreshVolume has it.
func (t *Tree) RefreshInstance(ctx context.Context, in Instance, o CopyOptions) error {
	from, err := t.copyOrigin(o, in.Name)
	if err == nil {
		var s *InstanceStage
		if s, err = t.StageInstanceReplacement(ctx, in.Name, !o.Snapshots); err == nil {
			err = s.createFrom(ctx, in, from)
		}
	}
	return err
}

// replace is Commit of a replacement: swap records the new state and exchanges the volumes.
func (s *OwnerStage) replace(ctx context.Context, swap func(ctx context.Context) error) error {
	if err := swap(ctx); err != nil {
		return err
	}
	crash.Point("tree.replace.exchanged")
	e := s.entry
	s.entry = nil
	err := s.tree.endReplacement(e, s.place, *s.replaces)
	if err == nil {
		err = clearEntry(context.WithoutCancel(ctx), e)
	}
	if err != nil { // the next Recover goes on
		return errors.Join(fmt.Errorf("cannot clean up: %w", err), e.Close())
	}
	return e.Done()
}

// exchangeVolume takes the steps up to the commit of a custom volume.
func (s *VolumeStage) exchangeVolume(v Volume) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		rec := recordOf(v)
		if s.replaces.Keep {
			old, err := s.tree.readVolumeRecord(s.dir)
			if err != nil {
				return err
			}
			rec.Snapshots = old.Snapshots
		}
		raw, err := encodeVolumeRecord(rec)
		if err == nil {
			err = writeFile(s.entry.Dir(), entryVolumeRecord, raw, 0o600)
		}
		if err != nil {
			return err
		}
		crash.Point("tree.replace.recorded")
		return s.exchange(ctx)
	}
}

// exchangeInstance takes the steps up to the commit of an instance, while nobody else writes the present record.
func (s *InstanceStage) exchangeInstance(in Instance) func(ctx context.Context) error {
	return func(ctx context.Context) (err error) {
		lock, err := lockVolume(s.tree.InstancePath(s.dir))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		rec, err := s.tree.readRecord(s.tree.InstancePath(s.dir), brief)
		if err != nil {
			return err
		}
		snaps := entriesOf(in.Snapshots)
		if s.replaces.Keep {
			if snaps, err = s.tree.mergeEntries(s.dir, rec.entries); err != nil {
				return err
			}
		}
		if err := s.record(ctx, s.Path(), rec.doc, in, snaps); err != nil {
			return err
		}
		return s.exchange(ctx)
	}
}

// exchange swaps the staged volume with the one that it replaces.
func (s *OwnerStage) exchange(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := s.tree.pathIn(s.place, s.dir)
	err := exchange(s.Path(), path)
	if errors.Is(err, unix.EROFS) { // the kernel does not move what is read-only
		if err = withHeadroom(path, func() error { return btrfs.SetReadOnly(path, false) }); err == nil {
			err = exchange(s.Path(), path)
		}
	}
	return err
}

// endReplacement has the record and the snapshots follow the volume that was exchanged; each may have been done already.
func (t *Tree) endReplacement(e *journal.Entry, p place, args replacing) error {
	if p == customs() {
		if err := t.followRecord(e, args); err != nil {
			return err
		}
		crash.Point("tree.replace.followed")
	}
	if args.Keep {
		return nil
	}
	return t.exchangeSnapshots(e, p, args)
}

// followRecord puts the record in the entry into the place of the old one.
func (t *Tree) followRecord(e *journal.Entry, args replacing) error {
	return t.lockedVolumeRecords(func() error {
		named, err := fileInode(t.volumeRecordPath(args.Volume))
		if err != nil || named != args.Record {
			return err
		}
		if err := os.Remove(e.Path(entryNewRecord)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Link(e.Path(entryVolumeRecord), e.Path(entryNewRecord)); err != nil {
			return err
		}
		return os.Rename(e.Path(entryNewRecord), t.volumeRecordPath(args.Volume))
	})
}

// exchangeSnapshots swaps the snapshots in the entry with those of the volume; either may have none.
func (t *Tree) exchangeSnapshots(e *journal.Entry, p place, args replacing) error {
	place, staged := t.snapshotsIn(p, args.Volume), e.Path(entrySnapshots)
	here, err := dirInode(place)
	if err != nil || here != args.Snapshots {
		return err
	}
	there, err := dirInode(staged)
	switch {
	case err != nil:
		return err
	case here != 0 && there != 0:
		err = exchange(staged, place)
	case there != 0:
		err = renameNew(staged, place)
	case here != 0:
		err = renameNew(place, staged)
	}
	if err == nil {
		crash.Point("tree.replace.snapshots")
	}
	return err
}

// recoverReplace finishes a replacement whose volumes were exchanged, and undoes another one.
func (t *Tree) recoverReplace(p place) journal.Handler {
	return func(ctx context.Context, e *journal.Entry) error {
		var args replacing
		if err := e.Args(&args); err != nil {
			return err
		}
		if err := checkComponent(args.Volume); err != nil {
			return err
		}
		sub, err := btrfs.Stat(e.Path(entryVolume))
		switch {
		case err == nil && sub.ID == args.ID:
			if err := t.endReplacement(e, p, args); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, btrfs.ErrNotSubvolume):
			return err
		}
		return clearEntry(ctx, e)
	}
}
