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
	"poolctl/pool/state"
)

// AttachPoolFrom attaches a pool whose file has been moved to path, and
// remembers the new place. The file must hold the pool, and not be a copy while
// the one at the old path is still there.
func (s *System) AttachPoolFrom(ctx context.Context, name, path string) error {
	if err := s.movePool(ctx, name, path); err != nil {
		return err
	}
	return s.AttachPool(ctx, name)
}

func (s *System) movePool(ctx context.Context, name, path string) error {
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.loadPool(name)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err == nil {
		err = s.checkMove(rec, path)
	}
	if err != nil {
		return fmt.Errorf("cannot attach pool %s from %s: %w", name, path, err)
	}
	if path == rec.Source {
		return nil
	}
	rec.Source = path
	rec.Config["source"] = path
	return s.savePool(rec)
}

// checkMove says why path cannot be where a pool's file is now.
func (s *System) checkMove(rec state.PoolRecord, path string) error {
	if rec.Kind != state.PoolFile {
		return errors.New("the pool does not lie on a file")
	}
	var there, before unix.Stat_t
	if err := unix.Stat(path, &there); err != nil {
		return err
	}
	if there.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is no regular file")
	}
	super, err := btrfs.ReadSuper(path)
	if err != nil {
		return err
	}
	if super.UUID != rec.UUID {
		return fmt.Errorf("it holds another file system: UUID %s, not %s", super.UUID, rec.UUID)
	}
	strayed, err := s.findStrayed(rec)
	if err != nil {
		return err
	}
	if strayed != nil {
		if isFile(path, strayed.loop) {
			return nil
		}
		return fmt.Errorf("it is a copy: %s", strayed)
	}
	err = unix.Stat(rec.Source, &before)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return &os.PathError{Op: "stat", Path: rec.Source, Err: err}
	}
	if before.Dev == there.Dev && before.Ino == there.Ino {
		return nil
	}
	if super, err := btrfs.ReadSuper(rec.Source); err == nil && super.UUID == rec.UUID {
		return withHint(fmt.Errorf("it is a copy: the pool is still at %s", rec.Source), "if the copy is to be the pool, move that one away first, or keep both: poolctl pool forget %s && poolctl pool adopt %s", rec.Name, path)
	}
	return nil
}

// followFile remembers where the file of an attached pool has been moved to.
func (s *System) followFile(ctx context.Context, rec state.PoolRecord) error {
	strayed, err := s.findStrayed(rec)
	if err != nil || strayed == nil {
		return err
	}
	if strayed.path == "" {
		s.noticef("pool %s: %s (%s)", rec.Name, strayed, strayed.remedy(s.dir.MountPoint(rec.Name)))
		return nil
	}
	s.noticef("pool %s: %s", rec.Name, strayed)
	return s.movePool(ctx, rec.Name, strayed.path)
}
