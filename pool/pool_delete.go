package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// DeletePool deletes a pool and its file. A pool that holds instances or images
// is refused unless force; one with running instances always. Only the pool's
// own file is removed: another one that has taken its place stays.
//
// Order: unmount (which can still be taken back), intent, record (the commit),
// file. Killed after the intent, the next command finishes it.
func (s *System) DeletePool(ctx context.Context, name string, force bool) error {
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.loadPool(name)
	if err != nil {
		return err
	}
	st, lost := ownFile(rec)
	if err := s.refuseStrangers(rec); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if err := s.checkEmpty(ctx, rec, force, lost); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if err := s.unmountPool(ctx, rec); err != nil {
		return fmt.Errorf("cannot delete pool %s: %w", name, err)
	}
	if lost != nil {
		s.noticef("pool %s is forgotten, no file deleted: %s", name, lost)
	}
	entry, err := journal.Begin(ctx, s.journalDir(), "pool-delete", creating{Name: name, Path: rec.Source, Dev: st.Dev, Inode: st.Ino})
	if err != nil {
		return err
	}
	crash.Point("pool.delete.begun")
	if err := s.finishDelete(ctx, creating{Name: name, Path: rec.Source, Dev: st.Dev, Inode: st.Ino}); err != nil {
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
	used, err := s.poolUsers(ctx, rec)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return withHint(fmt.Errorf("%w: %d instances, snapshots and images are in it", ErrInUse, len(used)), "delete them first, or everything at once with --force")
	}
	return nil
}

// finishDelete removes record, profile devices and file; each step may have
// been done already.
func (s *System) finishDelete(ctx context.Context, in creating) error {
	if err := s.dir.DeletePool(in.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	crash.Point("pool.delete.forgotten")
	unlock, err := s.dir.LockState(context.WithoutCancel(ctx)) // begun is finished: the others hold it briefly
	if err != nil {
		return err
	}
	err = s.dropFromProfiles(func(dev map[string]string) bool { return dev["type"] == "disk" && dev["pool"] == in.Name })
	unlock()
	mp := s.dir.MountPoint(in.Name)
	if mounted, merr := isMountPoint(mp); merr == nil && mounted {
		err = errors.Join(err, unix.Unmount(mp, 0))
	}
	if rerr := os.Remove(mp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, removeOwnFile(in.Path, in.Dev, in.Inode))
}

// recoverDelete finishes the deletion that an unlocked intent tells of.
func (s *System) recoverDelete(ctx context.Context, e *journal.Entry) error {
	var in creating
	if err := e.Args(&in); err != nil {
		return err
	}
	rec, err := s.dir.LoadPool(in.Name)
	if err == nil && rec.Source != in.Path { // a new pool of that name
		return nil
	}
	return s.finishDelete(ctx, in)
}

// journalHandlers finish or undo what the state directory's journal tells of.
func (s *System) journalHandlers() map[string]journal.Handler {
	return map[string]journal.Handler{
		"":            func(context.Context, *journal.Entry) error { return nil }, // killed before its first step
		"pool-create": s.recoverCreate,
		"pool-delete": s.recoverDelete,
	}
}

// poolUsers is used_by of an attached pool.
func (s *System) poolUsers(ctx context.Context, rec state.PoolRecord) ([]string, error) {
	p, err := s.peek(rec)
	if err != nil || p == nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	used := []string{}
	instances, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range instances {
		used = append(used, "/1.0/instances/"+in.Name)
		for _, sn := range in.Snapshots {
			used = append(used, "/1.0/instances/"+in.Name+"/snapshots/"+sn.Name)
		}
	}
	images, err := p.Images()
	if err != nil {
		return nil, err
	}
	for _, im := range images {
		used = append(used, "/1.0/images/"+im.Fingerprint)
	}
	return used, nil
}
