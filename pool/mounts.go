package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	dir, err = mountTarget(dir)
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
		if dir, err = filepath.Abs(dir); err != nil {
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
	made := ""
	if dir == "" {
		if dir, err = s.makeLookDir(ref); err != nil {
			return "", err
		}
		made = dir
	}
	if dir, err = mountTarget(dir); err == nil {
		flags := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
		if !rw {
			flags |= unix.MOUNT_ATTR_RDONLY
		}
		config := rec.Config
		if o.HostIDs {
			config = nil
		}
		err = mountRoot(filepath.Join(volume, "rootfs"), dir, flags, config)
	}
	if err != nil {
		removeLookDir(made)
		return "", fmt.Errorf("cannot mount %s: %w", ref, err)
	}
	return dir, nil
}

// makeLookDir makes the directory below the state directory at which a look is
// mounted when the user names none.
func (s *System) makeLookDir(ref string) (string, error) {
	dir := filepath.Join(s.dir.Root, "mnt", strings.ReplaceAll(ref, "/", "@"))
	return dir, os.MkdirAll(dir, 0o700)
}

// removeLookDir removes a directory that makeLookDir made and that came to
// nothing; "" is none, and one at which something else is mounted stays.
func removeLookDir(dir string) {
	if dir != "" {
		_ = os.Remove(dir)
	}
}

// Unmount ends what Mount made, by its directory, or by the instance, snapshot or
// image; and what InspectMount made, by its directory.
func (s *System) Unmount(ctx context.Context, dirOrRef string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(dirOrRef)
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
		if filepath.Dir(l.dir) == filepath.Join(s.dir.Root, "mnt") {
			_ = os.Remove(l.dir)
		}
	}
	if !found {
		return withHint(fmt.Errorf("cannot unmount %s: no instance or image is mounted there", dirOrRef), "findmnt shows what is mounted")
	}
	return ctx.Err()
}

// look is one mount of an instance's, snapshot's or image's root.
type look struct {
	ref string // NAME, NAME/SNAP or FINGERPRINT
	dir string
	// writable says that it can be written to there.
	writable bool
}

// looks finds every mounted look inside, in all pools, in the kernel's table.
func (s *System) looks() ([]look, error) {
	records, _, err := s.poolRecords()
	if err != nil {
		return nil, err
	}
	var out []look
	for _, rec := range records {
		mounts, err := s.poolMounts(rec)
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			if ref := lookRef(m.Root); ref != "" {
				writable := !slices.Contains(strings.Split(m.Options, ","), "ro")
				out = append(out, look{ref, m.MountPoint, writable})
			}
		}
	}
	disks, err := s.diskLooks("")
	return append(out, disks...), err
}

// lookRef turns the root of a mount within the pool into the instance, snapshot or
// image that it shows, whole or a part of its files.
func lookRef(root string) string {
	parts := strings.Split(strings.TrimPrefix(root, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "containers" && parts[2] == "rootfs":
		return parts[1]
	case len(parts) >= 4 && parts[0] == "containers-snapshots" && parts[3] == "rootfs":
		return parts[1] + "/" + parts[2]
	case len(parts) >= 3 && parts[0] == "images" && parts[2] == "rootfs":
		return parts[1]
	}
	return ""
}

// checkNoLook refuses to change an instance, snapshot or image that is mounted.
func (s *System) checkNoLook(refs ...string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	for _, l := range looks {
		for _, r := range refs {
			if l.ref == r || strings.HasPrefix(l.ref, r+"/") {
				return withHint(fmt.Errorf("%w: %s is mounted at %s", ErrInUse, l.ref, l.dir), "poolctl umount %s", l.dir)
			}
		}
	}
	return s.checkNoOffline(refs...)
}

// checkStartable refuses to start an instance that is mounted writable: who did that
// wanted nothing else to change it, and mount refuses one that runs. A command that
// runs in its root, or with its network devices, is in the way as well.
func (s *System) checkStartable(name string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	for _, l := range looks {
		if l.ref == name && l.writable {
			return withHint(fmt.Errorf("%w: it is mounted writable at %s", ErrInUse, l.dir), "poolctl umount %s", l.dir)
		}
	}
	if err := s.checkRootFree(name); err != nil {
		return err
	}
	return s.checkNetworkFree(name)
}

// mountTarget checks the directory that something is to be mounted at.
func mountTarget(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", fmt.Errorf("%s: %w", dir, statError(err))
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, statError(err))
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	mounted, err := isMountPoint(abs)
	if err != nil {
		return "", err
	}
	if mounted {
		return "", withHint(fmt.Errorf("something is mounted at %s already", abs), "choose another directory")
	}
	return abs, nil
}

// bindMount shows src at dst with the mount attributes given, in one step: the
// new mount is never there without them (open_tree(2), mount_setattr(2),
// move_mount(2)).
func bindMount(src, dst string, attrs uint64) error {
	place, err := openPlace(src)
	if err != nil {
		return err
	}
	defer func() { _ = place.Close() }() // a path only
	tree, err := cloneMount(place, unix.MountAttr{Attr_set: attrs})
	if err != nil {
		return err
	}
	defer func() { _ = tree.Close() }() // the mount stays
	return attachMount(tree, dst)
}

// openPlace opens a directory as a path only.
func openPlace(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// cloneMount makes a mount of what is at place, with the attributes given, that
// is nowhere yet: it ends with the file, unless attachMount puts it somewhere.
func cloneMount(place *os.File, attr unix.MountAttr) (*os.File, error) {
	fd, err := unix.OpenTree(int(place.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	tree := os.NewFile(uintptr(fd), place.Name())
	if attr != (unix.MountAttr{}) {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", place.Name(), err), tree.Close())
		}
	}
	return tree, nil
}

// attachMount puts what cloneMount made at dst.
func attachMount(tree *os.File, dst string) error {
	return unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, dst, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// isMountPoint says whether something is mounted exactly at dir.
func isMountPoint(dir string) (bool, error) {
	m, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	return len(m) > 0, err
}

// sweepLooks removes the directories below mnt/ on which nothing is mounted any
// more, as after a reboot.
func sweepLooks(dir *state.Dir) {
	entries, err := os.ReadDir(filepath.Join(dir.Root, "mnt"))
	if err != nil {
		return
	}
	for _, e := range entries {
		_ = os.Remove(filepath.Join(dir.Root, "mnt", e.Name())) // EBUSY while mounted, ENOTEMPTY if not ours
	}
}
