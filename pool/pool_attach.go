package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// AttachPool attaches a pool's file to a loop device and mounts it. A pool that
// is attached stays as it is; where its file has been moved to meanwhile is
// remembered. Other loop devices on the file are reported: what is written
// through them corrupts the pool.
func (s *System) AttachPool(ctx context.Context, name string) error {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(s.reportStrangers(p.rec), p.close(), s.followFile(ctx, p.rec))
}

// PoolsToAttach names the pools that are to be attached when the machine starts:
// all but those that were detached on purpose. One whose record cannot be read
// is among them, so that attaching it says why.
func (s *System) PoolsToAttach() ([]string, error) {
	names, err := s.dir.ListPools()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(n string) bool {
		rec, err := s.dir.LoadPool(n)
		return err == nil && rec.Detached || errors.Is(err, fs.ErrNotExist)
	}), nil
}

// openedPool is an attached pool with its shared lock held.
type openedPool struct {
	*tree.Tree
	rec    state.PoolRecord
	unlock func()
}

func (p *openedPool) close() error {
	err := p.Close()
	p.unlock()
	return err
}

// loadPool reads a pool's record.
func (s *System) loadPool(name string) (state.PoolRecord, error) {
	rec, err := s.dir.LoadPool(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrInvalidName) {
		return rec, withHint(fmt.Errorf("cannot find pool %q: %w", name, ErrNotFound), "poolctl pool list shows them, poolctl pool create NAME makes one")
	}
	return rec, err
}

// openPool attaches the pool if it is not, takes its shared lock and opens its
// tree. The caller closes it.
func (s *System) openPool(ctx context.Context, name string) (*openedPool, error) {
	for {
		rec, err := s.loadPool(name)
		if err != nil {
			return nil, err
		}
		unlock, err := s.dir.LockPool(ctx, name, true)
		if err != nil {
			return nil, err
		}
		mounted, err := s.isAttached(rec)
		if err == nil && mounted {
			if t, err := tree.Open(s.dir.MountPoint(name)); err == nil {
				if err := t.Recover(ctx); err != nil {
					s.notice(err.Error())
				}
				return &openedPool{Tree: t, rec: rec, unlock: unlock}, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				unlock()
				return nil, err
			}
		}
		unlock()
		if err != nil {
			return nil, err
		}
		if err := s.attachLocked(ctx, name); err != nil {
			return nil, err
		}
	}
}

// attachLocked attaches a pool under its exclusive lock.
func (s *System) attachLocked(ctx context.Context, name string) error {
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.loadPool(name) // it may have been deleted meanwhile
	if err != nil {
		return err
	}
	if err := s.mountPool(ctx, rec); err != nil {
		return fmt.Errorf("cannot attach pool %s: %w", name, err)
	}
	s.attachQuotas(ctx, rec)
	s.reportPaused(rec)
	if rec.Detached {
		rec.Detached = false
		if err := s.savePool(rec); err != nil {
			return errors.Join(fmt.Errorf("cannot attach pool %s: %w", name, err), s.unmountPool(context.WithoutCancel(ctx), rec))
		}
		return nil
	}
	s.savePoolInside(rec)
	return nil
}

// isAttached says whether the pool's own file system is mounted at its mount
// point: the one with the UUID of its record, not just any.
func (s *System) isAttached(rec state.PoolRecord) (bool, error) {
	own, err := s.ownMount(rec)
	return own != nil, err
}

// ownMount is the pool's own mount; nil when it is not attached.
func (s *System) ownMount(rec state.PoolRecord) (*btrfs.Mount, error) {
	mounts, err := s.poolMounts(rec)
	if err != nil {
		return nil, err
	}
	for i := range mounts {
		if mounts[i].MountPoint == s.dir.MountPoint(rec.Name) {
			return &mounts[i], nil
		}
	}
	return nil, nil
}

// mountPool mounts the pool, whatever it lies on, under the caller's exclusive
// lock.
func (s *System) mountPool(ctx context.Context, rec state.PoolRecord) (err error) {
	if mounted, err := s.isAttached(rec); err != nil || mounted {
		return err
	}
	mp := s.dir.MountPoint(rec.Name)
	if err := os.MkdirAll(mp, 0o711); err != nil {
		return err
	}
	if err := dropLeftover(rec, mp); err != nil {
		return err
	}
	if mounted, err := isMountPoint(mp); err != nil {
		return err
	} else if mounted {
		return withHint(fmt.Errorf("something else is mounted at %s", mp), "umount %s", mp)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(mp) // unless it is in use
		}
	}()
	switch rec.Kind {
	case state.PoolDevice:
		return s.mountDevice(rec, mp)
	case state.PoolDirectory:
		return s.mountDirectory(rec, mp)
	}
	return s.mountFile(ctx, rec, mp)
}

// mountFile attaches a pool's file to a loop device and mounts that. The device
// is set to clear itself, so from here on the mount alone keeps it.
func (s *System) mountFile(ctx context.Context, rec state.PoolRecord, mp string) (err error) {
	if err := s.checkFile(rec); err != nil {
		return err
	}
	dev, err := s.holdLoop(ctx, rec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	if err := mountBtrfs(dev.Path(), mp, rec); err != nil {
		return err
	}
	if err := s.checkMounted(rec, dev.Path(), mp); err != nil {
		return errors.Join(err, undoMount(mp))
	}
	return nil
}

// undoMount takes away what has just been mounted at mp, whoever has looked into
// it meanwhile.
func undoMount(mp string) error {
	err := unix.Unmount(mp, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(mp, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	return os.NewSyscallError("umount", err)
}

// dropLeftover takes away a mount at the pool's place that a killed command left
// before it could look at what it had mounted: the pool's own device, under a
// temporary UUID.
func dropLeftover(rec state.PoolRecord, mp string) error {
	if rec.Kind == state.PoolDirectory {
		return nil
	}
	there, err := holders.Own(func(m holders.Mount) bool { return m.MountPoint == mp && m.FSType == "btrfs" })
	if err != nil || len(there) == 0 {
		return err
	}
	number := deviceNumber(there[len(there)-1].Source) // of the topmost
	active, err := btrfs.ActiveOf(rec.UUID)
	if err != nil {
		return err
	}
	own, err := ownNumbers(rec)
	if err != nil {
		return ignoreNotExist(err)
	}
	if !slices.Contains(own, number) || !slices.ContainsFunc(active, func(a btrfs.Active) bool { return a.Temporary && a.Has(number) }) {
		return nil
	}
	if err := unix.Unmount(mp, unix.UMOUNT_NOFOLLOW); err != nil {
		return unmountError(mp, err)
	}
	return nil
}

// checkMounted looks at what has just been mounted. When a copy of the file
// system came first after all, btrfs gives this one a temporary UUID (Linux
// 6.7), which sysfs tells and BTRFS_IOC_FS_INFO does not, or shows the copy:
// neither is the pool as it is to be used.
func (s *System) checkMounted(rec state.PoolRecord, device, mp string) error {
	info, err := btrfs.FSInfo(mp)
	if err != nil {
		return err
	}
	attached, err := s.isAttached(rec)
	if err != nil {
		return err
	}
	if info.UUID != rec.UUID || !attached {
		return withHint(errors.New("a copy of this pool, or its file by another device, is mounted, or was just now: btrfs gave this mount a temporary UUID"),
			"unmount that and try again; poolctl doctor names it; a copy can have a UUID of its own: btrfstune -u FILE")
	}
	if len(info.Devices) == 1 && info.Devices[0].Path != "" && info.Devices[0].Path != device && deviceNumber(info.Devices[0].Path) != deviceNumber(device) {
		return withHint(fmt.Errorf("btrfs mounted %s in place of %s: a copy of this pool", info.Devices[0].Path, device),
			"take the copy away, such as with losetup -d %s", info.Devices[0].Path)
	}
	return nil
}

// holdLoop holds the loop device that has the pool's file already, or makes one.
// Of several, which others made, it takes the one that ownDevice says, unless
// another one of them is used.
func (s *System) holdLoop(ctx context.Context, rec state.PoolRecord) (*loopdev.Device, error) {
	if err := s.refuseStrangers(rec); err != nil {
		return nil, err
	}
	dev, err := s.holdOwn(ctx, rec)
	if err != nil {
		return nil, err
	}
	info, err := dev.Info()
	if err == nil && info.ReadOnly {
		var st Stranger
		if st, err = describeStranger(info); err == nil {
			err = withHint(fmt.Errorf("%s is attached read-only as %s", rec.Source, st), "%s", st.remedy())
		}
	} else if err == nil && (info.Offset != 0 || info.SizeLimit != 0) {
		err = withHint(fmt.Errorf("only a part of %s is attached as %s", rec.Source, info.Path), "losetup -d %s", info.Path)
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return dev, nil
}

// holdOwn holds the one of several devices on the file that is the pool's.
func (s *System) holdOwn(ctx context.Context, rec state.PoolRecord) (*loopdev.Device, error) {
	loops, err := loopdev.Find(rec.Source)
	if err != nil {
		return nil, err
	}
	own, err := ownDevice(rec, loops)
	if err != nil {
		return nil, err
	}
	for _, l := range loops {
		if l.Path != own {
			continue
		}
		dev, err := loopdev.Open(l.Number)
		if errors.Is(err, loopdev.ErrNotAttached) {
			break // its last user has just gone
		} else if err != nil {
			return nil, err
		}
		if now, err := dev.Info(); err == nil && now.Dev == l.Dev && now.Inode == l.Inode {
			return dev, nil
		}
		if err := dev.Close(); err != nil {
			return nil, err
		}
	}
	dev, _, err := loopdev.Hold(ctx, rec.Source, loopdev.AttachOptions{})
	return dev, err
}

// checkFile looks at the pool's file before it is attached: there, btrfs, ours,
// whole, and no copy of it mounted.
func (s *System) checkFile(rec state.PoolRecord) error {
	const restore = "put the file back from a copy, or forget the pool with poolctl pool delete --force %s"
	super, err := btrfs.ReadSuper(rec.Source)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("its file %s is gone", rec.Source), "put it back, say where it is now with poolctl pool attach %[1]s --source FILE, or forget the pool with poolctl pool delete --force %[1]s", rec.Name)
		}
		return withHint(err, restore, rec.Name)
	}
	if super.UUID != rec.UUID {
		return withHint(fmt.Errorf("%s holds another file system: UUID %s, not %s", rec.Source, super.UUID, rec.UUID), restore, rec.Name)
	}
	if err := checkWhole(rec.Source, super.TotalBytes, super.NumDevices); err != nil {
		return withHint(err, "make it as large as it was, truncate -s %d %s, where what was in the rest stays lost; or "+restore, super.TotalBytes, rec.Source, rec.Name)
	}
	return s.refuseMounted(rec)
}

// checkWhole refuses a file or device that is smaller than the file system in it.
// One with several devices counts the bytes of all.
func checkWhole(path string, need, devices uint64) error {
	size, err := sizeOf(path)
	if err != nil {
		return err
	}
	if devices == 1 && uint64(size) < need { //nolint:gosec // a size is not negative
		return fmt.Errorf("%s is truncated: %s of %s", path, FormatSize(size), FormatSize(int64(need)))
	}
	return nil
}
