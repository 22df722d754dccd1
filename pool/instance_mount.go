package pool

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MountOptions are the arguments of Mount and MountInstance.
type MountOptions struct {
	// Writable lets it be written to: not for running instances, snapshots and images.
	Writable bool
	// HostIDs shows owners as they are on the disk, not as they are seen inside. That
	// makes a difference only for a root whose ids are shifted there, as LXD does
	// where it cannot map them.
	HostIDs bool
}

// MountInstance shows the root file system of an instance, or of its snapshot
// with NAME/SNAP, at dir; with dir "" at a directory made for it below the
// state directory. The mount is read-only unless it is to be writable, which a
// running instance and a snapshot refuse. Owners are those seen inside unless those
// on the disk are asked for; set-id programs and device nodes of the image have no
// effect through it.
func (s *System) MountInstance(ctx context.Context, ref, dir string, o MountOptions) (string, error) {
	rw := o.Writable
	name, snap, _ := strings.Cut(ref, "/")
	p, rec, err := s.findInstance(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = p.close() }()
	if rw && snap != "" {
		return "", fmt.Errorf("cannot mount %s: a snapshot is read-only", ref)
	}
	if rw { // nobody starts, restores or deletes it meanwhile
		unlock, err := s.dir.LockInstance(ctx, name)
		if err != nil {
			return "", err
		}
		defer unlock()
	}
	if rw && s.isRunning(name) {
		return "", withHint(fmt.Errorf("cannot mount %s writable: it is running", ref), "stop it first, or use poolctl exec")
	}
	if rw {
		if err := s.checkRootFree(name); err != nil {
			return "", fmt.Errorf("cannot mount %s writable: %w", ref, err)
		}
	}
	volume := p.InstancePath(name)
	if snap != "" {
		if volume, err = p.SnapshotPath(name, snap); err != nil {
			return "", fmt.Errorf("cannot mount %s: %w", ref, snapshotError(err, name))
		}
		if rec, err = p.InstanceAt(name, snap); err != nil {
			return "", fmt.Errorf("cannot mount %s: %w", ref, err)
		}
	}
	flags := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if !rw {
		flags |= unix.MOUNT_ATTR_RDONLY
	}
	config := rec.Config
	if o.HostIDs {
		config = nil
	}
	place, err := s.mountLook(ref, dir, func(place string) error { return mountRoot(filepath.Join(volume, "rootfs"), place, flags, config) })
	if err != nil {
		return "", fmt.Errorf("cannot mount %s: %w", ref, err)
	}
	return place, nil
}

// mountedAt is the path that the kernel's table has of a directory, which may be named by
// a symbolic link.
func mountedAt(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		return resolved, nil
	}
	return abs, nil
}

// Unmount ends what Mount made, by its directory, or by the instance, snapshot or
// image; and what InspectMount made, by its directory.
func (s *System) Unmount(ctx context.Context, dirOrRef string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	abs, err := mountedAt(dirOrRef)
	if err != nil {
		return err
	}
	inspected, err := inspectedDirs()
	if err != nil {
		return err
	}
	for _, l := range inspected {
		if !slices.ContainsFunc(looks, func(have look) bool { return have.dir == l.dir }) {
			looks = append(looks, l)
		}
	}
	isLook := func(l look) bool { return l.dir == abs || l.ref == dirOrRef }
	if !slices.ContainsFunc(looks, isLook) {
		fingerprint, err := s.lookOfImage(ctx, dirOrRef)
		if err != nil {
			return err
		}
		isLook = func(l look) bool { return fingerprint != "" && l.ref == fingerprint }
	}
	found := false
	for _, l := range looks {
		if !isLook(l) {
			continue
		}
		found = true
		if err := unix.Unmount(l.dir, unix.UMOUNT_NOFOLLOW); err != nil {
			return unmountError(l.dir, err)
		}
		if filepath.Dir(l.dir) == filepath.Join(s.dir.Root, looksDir) {
			removeLookDir(s.dir, l.dir)
		}
	}
	if !found {
		return withHint(fmt.Errorf("cannot unmount %s: no instance or image is mounted there", dirOrRef), "findmnt shows what is mounted")
	}
	return ctx.Err()
}
