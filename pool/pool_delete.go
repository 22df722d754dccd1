package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// DeletePool deletes a pool with what it lies on: the file; the file system on a
// device, which is left empty; in a subvolume what is the pool's, and the
// subvolume itself if the pool made it and nothing else is in it. A pool that
// holds instances, virtual machines, volumes or images, or what somebody else put
// into it, is refused unless force; one with running instances always. Only what is the pool's own is removed: another file, file system or
// subvolume that has taken its place stays.
//
// Order: unmount (which can still be taken back), intent, record (the commit),
// source. Killed after the intent, the next command finishes it.
func (s *System) DeletePool(ctx context.Context, name string, force bool) error {
	if _, err := s.loadPool(name); err != nil { // before a lock of that name is made
		return err
	}
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.loadPool(name)
	if err != nil {
		return err
	}
	intent, lost := s.deletion(rec)
	if err := s.refuseStrangers(rec); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if err := s.checkEmpty(ctx, rec, force, lost); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if err := s.checkShownNowhere(rec); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if intent.Left, err = s.leavesBehind(ctx, rec); err != nil {
		s.noticef("of the instances in pool %s logs may be left: %s", name, err)
	}
	if err := s.unmountPool(ctx, rec); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if lost != nil {
		s.noticef("pool %s is forgotten, nothing else deleted: %s", name, lost)
	}
	entry, err := journal.Begin(ctx, s.journalDir(), "pool-delete", intent)
	if err != nil {
		return err
	}
	crash.Point("pool.delete.begun")
	if err := s.finishDelete(ctx, intent); err != nil {
		return errors.Join(fmt.Errorf("cannot delete pool %s: %w", name, err), entry.Close()) // the next command goes on with it
	}
	return entry.Done()
}

// checkEmpty refuses a pool that holds something, unless force. A pool whose
// file is lost (gone, or another one) can only be forgotten by force.
func (s *System) checkEmpty(ctx context.Context, rec state.PoolRecord, force bool, lost error) error {
	if force {
		return nil
	}
	if lost != nil {
		return withHint(lost, "with --force the pool is forgotten, and what is at that path left alone")
	}
	if err := s.mountPool(ctx, rec); err != nil {
		return withHint(err, "with --force it is deleted without looking inside")
	}
	err := s.checkNobodys(ctx, rec)
	if rec.Adopted {
		return refuseAdopted(rec, err)
	}
	return err
}

// refuseAdopted refuses to delete what was there before the pool was adopted, also
// where nothing is in it. in is the error that says what is.
func refuseAdopted(rec state.PoolRecord, in error) error {
	lost := map[string]string{
		state.PoolFile: "the file " + rec.Source, state.PoolDevice: "all that is on " + rec.Source, state.PoolDirectory: "the instances, volumes and images in " + rec.Source,
	}[rec.Kind]
	err := fmt.Errorf("it was adopted, and %s was there before", rec.Source)
	if in != nil {
		err = fmt.Errorf("it was adopted, and is %w", in)
	}
	return withHint(err, "poolctl pool forget %s keeps it as it is; --force deletes %s", rec.Name, lost)
}

// deletion is the intent of deleting a pool: what of it there is to delete. lost
// says why that is nothing: its file, device or subvolume is gone, or another one.
func (s *System) deletion(rec state.PoolRecord) (in creating, lost error) {
	in = creating{Name: rec.Name, Kind: rec.Kind, Path: rec.Source}
	switch rec.Kind {
	case state.PoolDevice:
		device, err := findDevice(rec)
		if err != nil {
			in.Kind = state.PoolFile // of which nothing is there
			return in, err
		}
		in.Path, in.UUID = device, rec.UUID
	case state.PoolDirectory:
		if err := checkDirectory(rec); err != nil {
			in.Kind = state.PoolFile
			return in, err
		}
		in.UUID = rec.UUID
		in.Subvolume = subvolumeIntent{Own: rec.OwnSubvolume, ID: rec.SubvolumeID, UUID: rec.SubvolumeUUID}
	default:
		st, err := s.ownFile(rec)
		if err != nil {
			return in, err
		}
		in.Dev, in.Inode = st.Dev, st.Ino
	}
	return in, nil
}

// checkShownNowhere refuses to delete a subvolume that is mounted elsewhere too:
// what shows it would show nothing.
func (s *System) checkShownNowhere(rec state.PoolRecord) error {
	if rec.Kind != state.PoolDirectory {
		return nil
	}
	mounts, err := s.poolMounts(rec)
	if err != nil {
		return err
	}
	if more := s.otherWholeMounts(rec, mounts); len(more) > 0 {
		return withHint(fmt.Errorf("%w: it is mounted at %s", ErrInUse, more[0].MountPoint), "umount %s", more[0].MountPoint)
	}
	return nil
}

// finishDelete removes what there is besides of the instances in it, record, profile
// devices and source; each step may have been done already.
func (s *System) finishDelete(ctx context.Context, in creating) error {
	// As long as the record is there, nobody takes the names of its instances.
	if _, err := s.dir.LoadPool(in.Name); err == nil {
		if err := s.dropLeftBehind(in.Left); err != nil { // a network that cannot be read is not in the way of the pool's end
			s.noticef("something is left of the instances of pool %s: %s", in.Name, err)
		}
	}
	if err := s.dir.DeletePool(in.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	crash.Point("pool.delete.forgotten")
	if err := os.Remove(s.scrubFile(in.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unlock, err := s.dir.LockState(context.WithoutCancel(ctx)) // begun is finished: the others hold it briefly
	if err != nil {
		return err
	}
	err = s.dropFromProfiles(func(dev map[string]string) bool { return dev["type"] == "disk" && dev["pool"] == in.Name })
	unlock()
	err = errors.Join(err, s.dropMountPoint(in.Name))
	if in.Kept {
		return err
	}
	return errors.Join(err, s.removeSource(context.WithoutCancel(ctx), in, false))
}

// recoverDelete finishes the deletion that an unlocked intent tells of.
func (s *System) recoverDelete(ctx context.Context, e *journal.Entry) error {
	var in creating
	if err := e.Args(&in); err != nil {
		return err
	}
	rec, err := s.dir.LoadPool(in.Name)
	if err == nil && !samePool(rec, in) { // a new pool of that name
		return nil
	}
	return s.finishDelete(ctx, in)
}

// samePool says whether the record is of the pool that an intent is to delete.
func samePool(rec state.PoolRecord, in creating) bool {
	return rec.Source == in.Path || in.Kind == state.PoolDevice && rec.UUID == in.UUID
}

// journalHandlers finish or undo what the state directory's journal tells of.
func (s *System) journalHandlers() map[string]journal.Handler {
	return map[string]journal.Handler{
		"":              func(context.Context, *journal.Entry) error { return nil }, // killed before its first step
		"pool-create":   s.recoverCreate,
		"pool-delete":   s.recoverDelete,
		"pool-resize":   s.recoverResize,
		opAdopt:         s.recoverAdopt,
		opHostFiles:     s.recoverHostFiles,
		opSet:           s.recoverSet,
		opNetworkSet:    s.recoverNetworkSet,
		opChange:        s.recoverChange,
		opProfile:       s.recoverProfile,
		opRename:        s.recoverRename,
		opDeleteInPlace: s.recoverDeleteInPlace,
		opMove:          s.recoverMove,
		opRenameProfile: s.recoverProfileRename,
		opVolumeMove:    s.recoverVolumeRename,
		opBeside:        s.recoverBeside,
		opStill:         s.recoverStill,
	}
}
