package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/loopdev"
	"poolctl/pool/state"
)

// releaseWait is how long the kernel, or a process that has just copied the
// mount namespace to make one of its own, may take to let a file system go.
const releaseWait = 2 * time.Second

// DetachPool unmounts a pool, which frees its loop device. It refuses while the
// pool is used, naming by what: running instances, looks inside and other
// mounts, also in other mount namespaces, and processes. A detached pool stays
// so until a command names it.
func (s *System) DetachPool(ctx context.Context, name string) error {
	if _, err := s.loadPool(name); err != nil { // before a lock of that name is made
		return err
	}
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	return s.detachLocked(ctx, name)
}

// detachLocked detaches a pool under the caller's exclusive lock.
func (s *System) detachLocked(ctx context.Context, name string) error {
	rec, err := s.unmountKept(ctx, name)
	if err != nil {
		return err
	}
	rec.Detached = true
	return s.dir.SavePool(rec)
}

// ReleasePool unmounts a pool as DetachPool does, but leaves it one that is
// wanted: the next command that needs it, or the next boot, attaches it again.
func (s *System) ReleasePool(ctx context.Context, name string) error {
	if _, err := s.loadPool(name); err != nil { // before a lock of that name is made
		return err
	}
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.unmountKept(ctx, name)
	return err
}

// unmountKept unmounts a pool whose file is still there.
func (s *System) unmountKept(ctx context.Context, name string) (state.PoolRecord, error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return rec, err
	}
	if err := s.checkNotLast(rec); err != nil {
		return rec, fmt.Errorf("cannot detach pool %s: %w", name, err)
	}
	if err := s.unmountPool(ctx, rec); err != nil {
		return rec, fmt.Errorf("cannot detach pool %s: %w", name, err)
	}
	return rec, nil
}

// unmountPool unmounts the pool under the caller's exclusive lock and waits
// until the kernel has let the loop device go. When the file system stays in
// use somewhere, the pool is mounted again.
func (s *System) unmountPool(ctx context.Context, rec state.PoolRecord) error {
	own, err := s.checkUnused(rec)
	if err != nil || own == nil {
		return err
	}
	if err := unix.Unmount(own.MountPoint, 0); err != nil {
		return unmountError(own.MountPoint, err)
	}
	if rec.Kind == state.PoolDirectory {
		return os.Remove(own.MountPoint)
	}
	if err := s.checkReleased(ctx, rec); err != nil {
		if mountBtrfs(own.Source, own.MountPoint, rec) != nil { // its last user has just gone
			err = errors.Join(err, s.mountPool(context.WithoutCancel(ctx), rec))
		}
		return err
	}
	return errors.Join(os.Remove(own.MountPoint), waitLoopGone(ctx, rec.Source))
}

// waitLoopGone waits until no loop device has the file any more: with autoclear
// the kernel ends it just after the last mount, not within umount.
func waitLoopGone(ctx context.Context, path string) error {
	for wait := time.Millisecond; wait < releaseWait; wait *= 2 {
		loops, err := loopdev.Find(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(loops) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if !loops[0].Autoclear { // the user's own, which stays as it was found
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return withHint(fmt.Errorf("%s is unmounted, but still attached to a loop device", path), "a process has the device open: losetup -j %s", path)
}
