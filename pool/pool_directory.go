package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// checkDirectory says why what is at a pool's directory is not its subvolume:
// the file system's UUID alone does not tell, as others can be on it.
func checkDirectory(rec state.PoolRecord) error {
	return isPoolSubvolume(rec.Source, rec)
}

func isPoolSubvolume(path string, rec state.PoolRecord) error {
	sub, err := btrfs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("its subvolume %s is gone: %w", path, fs.ErrNotExist), "mount the file system that it is on, or forget the pool with poolctl pool delete --force %s", rec.Name)
	} else if errors.Is(err, btrfs.ErrNotSubvolume) {
		return withHint(fmt.Errorf("%s is not its subvolume any more: %w", path, err), "mount the file system that it is on, or forget the pool with poolctl pool delete --force %s", rec.Name)
	} else if err != nil {
		return err
	}
	info, err := btrfs.FSInfo(path)
	if err != nil {
		return err
	}
	if info.UUID != rec.UUID || sub.ID != rec.SubvolumeID || sub.UUID != rec.SubvolumeUUID {
		return withHint(fmt.Errorf("%s is another subvolume: number %d of btrfs %s, not %d of %s", path, sub.ID, info.UUID, rec.SubvolumeID, rec.UUID),
			"mount the file system that it is on, or forget the pool with poolctl pool delete --force %s", rec.Name)
	}
	return nil
}

// mountDirectory shows the pool's subvolume at mp, under the caller's exclusive
// lock: a bind mount, as the file system is mounted already, by its owner.
func (s *System) mountDirectory(rec state.PoolRecord, mp string) error {
	if err := checkDirectory(rec); err != nil {
		return err
	}
	if err := bindMount(rec.Source, mp, 0); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", rec.Source, mp, err)
	}
	if err := s.checkShown(rec, mp); err != nil {
		return errors.Join(err, undoMount(mp))
	}
	return nil
}

// checkShown looks at what has just been mounted at mp: whether it is the pool,
// can be written to, and is not another state directory's too.
func (s *System) checkShown(rec state.PoolRecord, mp string) error {
	if err := isPoolSubvolume(mp, rec); err != nil {
		return err
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(mp, &fsys); err != nil {
		return err
	}
	if fsys.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%s is read-only", rec.Source)
	}
	mounts, err := s.poolMounts(rec)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.MountPoint != mp && m.Root == "/" && lastDirectory(m.MountPoint) == lastDirectory(mp) {
			return withHint(fmt.Errorf("another state directory has it mounted at %s: neither would see what the other runs", m.MountPoint), "detach it there first")
		}
	}
	return nil
}

// lastDirectory is the name of the directory that path is in.
func lastDirectory(path string) string {
	parts := strings.Split(path, "/")
	return parts[max(0, len(parts)-2)]
}

// poolMounts lists the mounts that show the pool or something in it, in this
// mount namespace, their roots relative to the pool's own. What the owner of a
// directory's file system has mounted is not among them. It is empty when the
// pool is not attached, unless something else shows the pool's file or device.
func (s *System) poolMounts(rec state.PoolRecord) ([]btrfs.Mount, error) {
	mounts, err := btrfs.MountsOf(rec.UUID)
	if err != nil || len(mounts) == 0 {
		return nil, err
	}
	mp := s.dir.MountPoint(rec.Name)
	if rec.Kind != state.PoolDirectory {
		if slices.ContainsFunc(mounts, func(m btrfs.Mount) bool { return m.MountPoint == mp }) {
			return mounts, nil
		}
		return withoutCopies(rec, mounts)
	}
	own := -1
	for i, m := range mounts { // the topmost
		if m.MountPoint == mp {
			own = i
		}
	}
	if own < 0 {
		return nil, nil
	}
	if err := isPoolSubvolume(mp, rec); errors.Is(err, fs.ErrNotExist) {
		return nil, nil // unmounted meanwhile
	} else if err != nil {
		return nil, fmt.Errorf("something else is mounted at %s: %w", mp, err)
	}
	root := strings.TrimSuffix(mounts[own].Root, "/")
	var out []btrfs.Mount
	for _, m := range mounts {
		inside, ok := strings.CutPrefix(m.Root, root)
		if !ok || inside != "" && inside[0] != '/' {
			continue
		}
		if m.Root = inside; inside == "" {
			m.Root = "/"
		}
		if m.MountPoint == rec.Source && m.Root == "/" {
			continue // of the file system's owner
		}
		out = append(out, m)
	}
	return out, nil
}

// withoutCopies leaves out the mounts of a copy with the pool's UUID, while the pool
// itself is not attached.
func withoutCopies(rec state.PoolRecord, mounts []btrfs.Mount) ([]btrfs.Mount, error) {
	if rec.Kind == state.PoolDevice {
		device, err := findDevice(rec)
		if err != nil {
			return nil, nil //nolint:nilerr // it is gone, so it is not what is mounted
		}
		rec.Source = device
	}
	own, err := ownNumbers(rec)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	return slices.DeleteFunc(mounts, func(m btrfs.Mount) bool {
		number := deviceNumber(m.Source)
		return number != 0 && !slices.Contains(own, number)
	}), nil
}

// pathIsBelow says whether path is in dir.
func pathIsBelow(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// otherWholeMounts are those of mounts that show the whole pool besides its own mount.
func (s *System) otherWholeMounts(rec state.PoolRecord, mounts []btrfs.Mount) []btrfs.Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m btrfs.Mount) bool { return m.Root != "/" || m.MountPoint == s.dir.MountPoint(rec.Name) })
}
