package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

// MoveVolume gives a custom volume another pool, another name or both, with its
// snapshots, also in the devices of the instances and profiles that use it. It
// is refused while one of them runs.
//
// To another pool: all of it is sent, aside; then the intent, the copy, the intent anew
// with the copy as what counts, devices, and then, with the copy on the disk, the source
// is deleted, not into the trash: all of it is there. Killed before the second intent,
// the next command deletes the copy; after it, it goes on.
func (s *System) MoveVolume(ctx context.Context, o CopyVolumeOptions) (err error) {
	o.Volume, o.Name = customName(o.Volume), customName(o.Name)
	if o.Pool == o.ToPool {
		return s.RenameVolume(ctx, o.Pool, o.Volume, o.Name)
	}
	if err := s.checkMovable(ctx, o); err != nil {
		return err
	}
	o.Snapshot, o.VolumeOnly = "", false
	m := moving{Pool: o.Pool, Name: o.Volume, ToPool: o.ToPool, To: o.Name}
	var entry *journal.Entry
	err = s.copyVolume(ctx, o, false, func(path string) error {
		sub, err := btrfs.Stat(path)
		if err != nil {
			return err
		}
		m.Copy = sub.UUID
		entry, err = journal.Begin(ctx, s.journalDir(), opVolumeMove, m)
		return err
	})
	if err != nil {
		return s.undoMove(ctx, m, entry, fmt.Errorf("cannot copy volume %s: %w", o.ref(), err))
	}
	crash.Point("pool.volumemove.copied")
	p, unlock, err := s.lockForMove(ctx, o.Pool, o.Volume, o.ToPool, o.Name)
	if err != nil {
		return s.undoMove(ctx, m, entry, err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	defer unlock()
	m.Copy = ""
	if err := entry.Update(m); err != nil {
		return errors.Join(err, entry.Close()) // whichever of the two it is by now, the next command goes on with it
	}
	crash.Point("pool.volumemove.begun")
	if err := s.finishMove(context.WithoutCancel(ctx), m); err != nil {
		return errors.Join(err, entry.Close()) // the next command goes on with it
	}
	return entry.Done()
}

// undoMove deletes the copy that a move has made, if it has, and returns why the move was
// given up.
func (s *System) undoMove(ctx context.Context, m moving, entry *journal.Entry, cause error) error {
	if entry == nil {
		return cause
	}
	if err := s.dropMoveCopy(context.WithoutCancel(ctx), m); err != nil {
		return errors.Join(cause, err, entry.Close()) // the next command tries again
	}
	return errors.Join(cause, entry.Done())
}

// dropMoveCopy deletes the copy of a volume that was to be moved, if it is there.
func (s *System) dropMoveCopy(ctx context.Context, m moving) (err error) {
	p, err := s.openPool(ctx, m.ToPool)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.dir.LockVolume(ctx, m.ToPool, m.To)
	if err != nil {
		return err
	}
	defer unlock()
	made, err := isSubvolume(p.VolumePath(m.To), m.Copy)
	if err != nil || !made {
		return err
	}
	return ignoreNotExist(p.DeleteVolume(ctx, m.To))
}

// checkMovable refuses what would only fail after the copy.
func (s *System) checkMovable(ctx context.Context, o CopyVolumeOptions) error {
	if there, err := s.hasVolume(ctx, o.Pool, o.Volume); err != nil {
		return err
	} else if !there {
		return volumeNotFound(o.Pool, o.Volume)
	}
	err := s.checkNotRunning(ctx, o.Pool, o.Volume)
	if err == nil {
		err = s.checkUnseenUsers(ctx, o.Pool, o.Volume)
	}
	if err != nil {
		return fmt.Errorf("cannot move volume %s/%s: %w", o.Pool, o.Volume, err)
	}
	return nil
}

// finishMove takes the last steps of a move between pools; each may have been
// done already.
func (s *System) finishMove(ctx context.Context, m moving) error {
	if err := s.followVolume(ctx, m); err != nil {
		return err
	}
	crash.Point("pool.volumemove.followed")
	p, target, closePools, err := s.openTwo(ctx, m.Pool, m.ToPool)
	if err != nil {
		return err
	}
	if err = btrfs.Sync(target.Path()); err == nil { // after a power cut, it is there or here
		err = ignoreNotExist(p.DeleteVolume(ctx, m.Name))
	}
	return errors.Join(err, closePools())
}
