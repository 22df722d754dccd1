package pool

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"poolctl/pool/state"
)

// MountPool shows a pool at dir too, which must be an existing directory; with
// dir "" the pool is attached and its own mount point returned.
func (s *System) MountPool(ctx context.Context, name, dir string) (string, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = p.close() }()
	mp := s.dir.MountPoint(name)
	if dir == "" {
		return mp, nil
	}
	dir, err = s.mountTarget(dir)
	if err != nil {
		return "", fmt.Errorf("cannot mount pool %s: %w", name, err)
	}
	if err := bindMount(mp, dir, 0); err != nil {
		return "", fmt.Errorf("cannot mount pool %s at %s: %w", name, dir, err)
	}
	return dir, nil
}

// mountSource is what the filesystem of a path was mounted from.
func mountSource(path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return "", fmt.Errorf("cannot read the mount table: %w", err)
	}
	if len(mounts) == 0 {
		return "", fmt.Errorf("%s is on no mount", path)
	}
	// The longest mount point, and of those at one place the last.
	found := mounts[0]
	for _, m := range mounts[1:] {
		if len(m.Mountpoint) >= len(found.Mountpoint) {
			found = m
		}
	}
	return found.Source, nil
}

// UnmountPool takes away the mount of the pool at dir, or with dir "" every
// mount that MountPool made. The pool stays attached.
func (s *System) UnmountPool(ctx context.Context, name, dir string) error {
	rec, err := s.loadPool(name)
	if err != nil {
		return err
	}
	mounts, err := s.poolMounts(rec)
	if err != nil {
		return err
	}
	if more := s.otherWholeMounts(rec, mounts); dir == "" && rec.Kind == state.PoolDirectory && len(more) > 0 {
		return withHint(fmt.Errorf("cannot unmount pool %s: the owner of its file system may have mounted it too", name), "name the directory: poolctl pool umount %s %s", name, more[0].MountPoint)
	}
	if dir != "" {
		if dir, err = mountedAt(dir); err != nil {
			return err
		}
	}
	found := false
	for _, m := range mounts {
		if m.MountPoint == s.dir.MountPoint(name) || m.Root != "/" || dir != "" && m.MountPoint != dir {
			continue
		}
		found = true
		if err := unix.Unmount(m.MountPoint, unix.UMOUNT_NOFOLLOW); err != nil {
			return unmountError(m.MountPoint, err)
		}
	}
	if !found && dir != "" {
		return withHint(fmt.Errorf("cannot unmount %s: pool %s is not mounted there", dir, name), "poolctl pool detach %s ends its own mount", name)
	}
	return ctx.Err()
}
