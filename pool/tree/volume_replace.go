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

const opVolumeReplace = "volume-replace"

// replacing are the arguments of opVolumeReplace: the directory of the custom volume that another one takes the place of, its
// id, and the inode numbers of its record and of the directory of its snapshots, 0 for what it does not have.
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
// Order: the new record, in the entry; the exchange of the volumes, which is the commit; record and snapshots follow it; what was
// there before goes. Killed after the exchange, Recover goes on; before it, the stage goes.
func (t *Tree) StageReplacement(ctx context.Context, name string, keep bool) (*VolumeStage, error) {
	s, err := t.stageReplacement(ctx, name, keep)
	if err != nil {
		return nil, fmt.Errorf("cannot replace volume %s: %w", name, err)
	}
	return s, nil
}

func (t *Tree) stageReplacement(ctx context.Context, name string, keep bool) (*VolumeStage, error) {
	if _, err := t.readableVolume(name); err != nil {
		return nil, err
	}
	args := replacing{Volume: volumeDir(name), Keep: keep}
	sub, err := btrfs.Stat(t.VolumePath(name))
	if err == nil {
		args.ID = sub.ID
		args.Record, err = fileInode(t.volumeRecordPath(args.Volume))
	}
	if err == nil {
		args.Snapshots, err = dirInode(t.snapshotsIn(customs(), args.Volume))
	}
	if err != nil {
		return nil, err
	}
	e, err := journal.Begin(ctx, t.staging(), opVolumeReplace, args)
	if err != nil {
		return nil, err
	}
	crash.Point("tree.volumereplace.begun")
	return &VolumeStage{tree: t, entry: e, name: name, replaces: &args}, nil
}

// RefreshVolume is CopyVolume to the name of a custom volume that is there, as StageReplacement has it: what is described by v
// takes its place, and its snapshots become those of v if from takes snapshots along, and stay otherwise.
func (t *Tree) RefreshVolume(ctx context.Context, v Volume, from VolumeSource, setup func(path string) error) error {
	s, err := t.StageReplacement(ctx, v.Name, !from.Snapshots)
	if err != nil {
		return err
	}
	return t.copyInto(ctx, s, v, from, setup)
}

// replace is Commit of a replacement.
func (s *VolumeStage) replace(ctx context.Context, v Volume) error {
	if err := s.exchange(ctx, v); err != nil {
		return fmt.Errorf("cannot replace volume %s: %w", s.name, err)
	}
	e := s.entry
	s.entry = nil
	err := s.tree.endReplacement(e, *s.replaces)
	if err == nil {
		err = clearEntry(context.WithoutCancel(ctx), e)
	}
	if err != nil { // the next Recover goes on
		return errors.Join(fmt.Errorf("cannot clean up after the replacement of volume %s: %w", s.name, err), e.Close())
	}
	return e.Done()
}

// exchange takes the steps up to the commit.
func (s *VolumeStage) exchange(ctx context.Context, v Volume) error {
	t, dir := s.tree, s.replaces.Volume
	rec := volumeRecord{Description: v.Description, Config: v.Config, CreatedAt: v.CreatedAt, Snapshots: v.Snapshots}
	if s.replaces.Keep {
		old, err := t.readVolumeRecord(dir)
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
	crash.Point("tree.volumereplace.recorded")
	if err := ctx.Err(); err != nil {
		return err
	}
	path := t.pathIn(customs(), dir)
	err = exchange(s.Path(), path)
	if errors.Is(err, unix.EROFS) { // the kernel does not move what is read-only
		if err = withHeadroom(path, func() error { return btrfs.SetReadOnly(path, false) }); err == nil {
			err = exchange(s.Path(), path)
		}
	}
	if err == nil {
		crash.Point("tree.volumereplace.exchanged")
	}
	return err
}

// endReplacement has the record and the snapshots follow the volume that was exchanged; each may have been done already.
func (t *Tree) endReplacement(e *journal.Entry, args replacing) error {
	err := t.lockedVolumeRecords(func() error {
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
	if err != nil || args.Keep {
		return err
	}
	crash.Point("tree.volumereplace.followed")
	return t.exchangeSnapshots(e, args)
}

// exchangeSnapshots swaps the snapshots in the entry with those of the volume; either may have none.
func (t *Tree) exchangeSnapshots(e *journal.Entry, args replacing) error {
	place, staged := t.snapshotsIn(customs(), args.Volume), e.Path(entrySnapshots)
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
		crash.Point("tree.volumereplace.snapshots")
	}
	return err
}

// recoverVolumeReplace finishes a replacement whose volumes were exchanged, and undoes another one.
func (t *Tree) recoverVolumeReplace(ctx context.Context, e *journal.Entry) error {
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
		if err := t.endReplacement(e, args); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, btrfs.ErrNotSubvolume):
		return err
	}
	return clearEntry(ctx, e)
}
