package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// EmptyTrashOptions say what is deleted from the trash for good.
type EmptyTrashOptions struct {
	TrashQuery
	// OlderThan leaves in it what was deleted within that span ("3d", "12H"); "" leaves nothing.
	OlderThan string
}

// EmptyTrash deletes what is meant for good, waits until the room that it took is free, and returns what that was. A name
// that means nothing in the trash is ErrNotFound.
func (s *System) EmptyTrash(ctx context.Context, o EmptyTrashOptions) ([]Trashed, error) {
	before := time.Now()
	if o.OlderThan != "" {
		if err := checkExpiry(o.OlderThan); err != nil {
			return nil, fmt.Errorf("cannot read the span %q: %w", o.OlderThan, err)
		}
		before = before.Add(-addExpiry(before, o.OlderThan).Sub(before))
	}
	gone, meant := []Trashed{}, map[string]bool{}
	err := s.eachTrash(ctx, o.TrashQuery, func(p *openedPool, found []Trashed) error {
		for _, name := range o.Names {
			q := o.TrashQuery
			q.Names = []string{name}
			some, err := trashOf(p, q)
			if err != nil {
				return err
			}
			meant[name] = meant[name] || len(some) > 0
		}
		some, err := s.emptyAll(ctx, p, found, before)
		gone = append(gone, some...)
		return err
	})
	for _, name := range o.Names {
		if !meant[name] {
			err = errors.Join(err, withHint(fmt.Errorf("cannot delete %q from the trash: %w", name, ErrNotFound), "poolctl trash list shows what is in it"))
		}
	}
	return gone, err
}

// emptyAll deletes those for good that were deleted before a time.
func (s *System) emptyAll(ctx context.Context, p *openedPool, found []Trashed, before time.Time) (gone []Trashed, err error) {
	for _, it := range found {
		if !it.DeletedAt.Before(before) {
			continue
		}
		if err = ctx.Err(); err != nil {
			break
		}
		if err = p.EmptyTrash(ctx, it.id); err == nil {
			gone = append(gone, it)
		} else if err = ignoreNotExist(err); err != nil {
			break
		}
	}
	if len(gone) == 0 {
		return nil, err
	}
	err = errors.Join(err, btrfs.WaitDeleted(ctx, p.Path()))
	s.afterDelete(ctx, p)
	return gone, err
}

// ExpireTrash deletes what has been in the trash for as long as its pool keeps it, in all pools that are attached, and names
// it: POOL/NAME. Commands that delete something do it for its pool.
func (s *System) ExpireTrash(ctx context.Context) (gone []string, err error) {
	return s.inAttachedPools(ctx, func(ctx context.Context, rec state.PoolRecord) (names []string, err error) {
		p, err := s.openPool(ctx, rec.Name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		old, err := s.expireTrashOf(ctx, p)
		for _, it := range old {
			names = append(names, rec.Name+"/"+it.Name)
		}
		return names, err
	})
}

// expireTrashOf deletes what is too old in a pool's trash. It does not wait for its room.
func (s *System) expireTrashOf(ctx context.Context, p *openedPool) (gone []Trashed, err error) {
	all, err := p.Trash()
	now := time.Now()
	for _, it := range all {
		at := leavesTrash(p.rec, it.DeletedAt)
		if at.IsZero() || at.After(now) || it.DeletedAt.IsZero() {
			continue
		}
		if derr := p.EmptyTrash(ctx, it.ID); derr == nil {
			gone = append(gone, publicTrashed(p.rec, it))
		} else {
			err = errors.Join(err, ignoreNotExist(derr))
		}
	}
	if len(gone) > 0 {
		s.afterDelete(ctx, p)
	}
	return gone, err
}

// dropOldTrash is expireTrashOf for a command that put something into the trash.
func (s *System) dropOldTrash(ctx context.Context, p *openedPool) error {
	_, err := s.expireTrashOf(ctx, p)
	return err
}

// makeRoom deletes what has been in a pool's trash for longest, waits until what it took is free, and tells of it; false when
// the trash is empty. what names what the room is for.
func (s *System) makeRoom(ctx context.Context, p *openedPool, what string) (bool, error) {
	all, err := p.Trash()
	if err != nil {
		return false, err
	}
	for _, it := range all {
		err := p.EmptyTrash(ctx, it.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // undeleted just now, or another command was quicker
		} else if err != nil {
			return false, err
		}
		gone := publicTrashed(p.rec, it)
		s.noticef("pool %s is full: %s, deleted at %s, is gone from its trash to make room for %s", p.rec.Name, gone.Name, gone.DeletedAt.Local().Format(time.DateTime), what)
		if err := btrfs.WaitDeleted(ctx, p.Path()); err != nil {
			return true, err
		}
		s.pruneQgroups(p)
		return true, nil
	}
	return false, nil
}

// makeRoomIn is makeRoom for the caller who has a pool attached, but not open.
func (s *System) makeRoomIn(ctx context.Context, rec state.PoolRecord, what string) (gone bool, err error) {
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return s.makeRoom(ctx, &openedPool{Tree: t, rec: rec}, what)
}

// withRoom calls do, which leaves nothing behind when it fails, and again as long as it runs out of room in the pool and there
// is something in the trash to make room of.
func (s *System) withRoom(ctx context.Context, p *openedPool, what string, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		gone, rerr := s.makeRoom(ctx, p, what)
		if rerr != nil || !gone {
			return errors.Join(err, rerr)
		}
	}
}

// relieve makes room in a pool that is full, for what runs in it: who deletes something in such a pool wants its room. It is
// full when it has less left than what is written of unknown size leaves to it (watchMargin).
func (s *System) relieve(ctx context.Context, p *openedPool) error {
	for {
		usage, err := btrfs.GetUsage(p.Path())
		if err != nil || poolFree(usage) >= min(watchMargin, int64(usage.Size)/16) {
			return err
		}
		if gone, err := s.makeRoom(ctx, p, "what runs in it"); err != nil || !gone {
			return err
		}
	}
}
