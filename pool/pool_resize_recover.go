package pool

import (
	"context"
	"errors"
	"io/fs"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// recoverResize finishes or undoes the resize that an unlocked intent tells of.
// While another command resizes the pool, that one does it (state.ErrLocked).
func (s *System) recoverResize(ctx context.Context, e *journal.Entry) error {
	var r resizing
	if err := e.Args(&r); err != nil {
		return err
	}
	unlock, err := s.dir.LockPoolWork(ctx, r.Name, false)
	if err != nil {
		return err
	}
	defer unlock()
	return s.finishResize(ctx, e)
}

// recoverResizes does so for all that are left, with the lock of the work held.
func (s *System) recoverResizes(ctx context.Context) error {
	handlers := s.journalHandlers()
	handlers["pool-resize"] = s.finishResize
	return journal.Recover(ctx, s.journalDir(), handlers)
}

// finishResize looks how far the resize came. Whatever it finds, it makes the
// sizes of file, loop device and file system agree, so that an intent which is
// out of date does no harm.
func (s *System) finishResize(ctx context.Context, e *journal.Entry) error {
	var r resizing
	if err := e.Args(&r); err != nil {
		return err
	}
	rec, err := s.dir.LoadPool(r.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && rec.UUID != r.UUID {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	if rec.Kind == state.PoolFile {
		if _, lost := s.ownFile(rec); lost != nil {
			return lost // it stays until the file is back
		}
	}
	p, err := s.openPool(ctx, r.Name)
	if err != nil {
		return err
	}
	return errors.Join(s.settleOrUndo(context.WithoutCancel(ctx), p.rec, r), p.close())
}

func (s *System) settleOrUndo(ctx context.Context, rec state.PoolRecord, r resizing) error {
	dev, err := s.ownFSDevice(rec)
	if err != nil {
		return err
	}
	// What a power cut left of moving a block group: no other balance can be there.
	if b, err := btrfs.GetBalance(s.dir.MountPoint(rec.Name)); err == nil && !b.Running {
		if err := btrfs.CancelBalance(s.dir.MountPoint(rec.Name)); err != nil && !errors.Is(err, btrfs.ErrNoBalance) {
			return err
		}
	}
	have := int64(dev.TotalBytes)
	size, err := s.sourceSize(rec)
	if err != nil {
		return err
	}
	switch {
	case have == r.To:
		return s.settleResize(ctx, rec, r)
	case !r.shrinks() && have == r.From && size >= r.To:
		err := s.extendSource(rec, r) // its space may not be reserved yet
		if err == nil {
			err = s.settleResize(ctx, rec, r)
		}
		if err != nil {
			return errors.Join(err, s.undoResize(ctx, rec, r))
		}
		return nil
	case have > r.To && have < r.From && size >= r.From: // between two steps
		if err := btrfs.Resize(ctx, s.dir.MountPoint(rec.Name), dev.ID, uint64(r.From)); err != nil {
			return err
		}
	}
	return s.fitFile(rec, 0, false)
}
