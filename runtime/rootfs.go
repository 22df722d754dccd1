package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// mapRoot attaches the root filesystem over itself, in the mount namespace of
// the calling thread, as a mount whose ids are those of the user namespace
// (man mount_setattr, "ID-mapped mounts"), or as they are when that is nil, and
// without devices: see package stage for why there. It returns a descriptor of
// the mount.
func mapRoot(rootfs string, userns *os.File, noDevices bool) (_ int, err error) {
	place, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the root filesystem %s: %w", rootfs, err)
	}
	defer func() { _ = unix.Close(place) }() // a path only
	tree, err := unix.OpenTree(place, "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("cannot copy the mount of %s: %w", rootfs, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(tree))
		}
	}()
	attr := unix.MountAttr{}
	if userns != nil {
		attr = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns.Fd())}
	}
	if noDevices {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return -1, &hintError{
			msg:  fmt.Sprintf("cannot map the ids of %s: its filesystem does not support idmapped mounts", rootfs),
			hint: "idmapped mounts need Linux 5.12, for btrfs 5.15 (man mount_setattr)",
		}
	}
	if err != nil {
		return -1, fmt.Errorf("cannot map the ids of %s: %w", rootfs, err)
	}
	if err := unix.MoveMount(tree, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("cannot attach the mount of %s: %w", rootfs, err)
	}
	return tree, nil
}

// rootNamespace is the user namespace that the ids of the root filesystem are to
// be seen through: that of the instance's process pid, or where the ids on disk
// are shifted, one that maps those to it. It is nil for a privileged instance
// where they are not: it is in the host's, which maps nothing.
func (s Spec) rootNamespace(pid int) (*os.File, error) {
	if len(s.DiskUIDMap) == 0 && len(s.DiskGIDMap) == 0 {
		if s.Privileged {
			return nil, nil
		}
		userns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
		if err != nil {
			return nil, fmt.Errorf("cannot open the instance's user namespace: %w", err)
		}
		return userns, nil
	}
	return UserNamespace(composeMaps(s.DiskUIDMap, s.UIDMap), composeMaps(s.DiskGIDMap, s.GIDMap))
}

// Limits of an instance's processes, whatever the caller's are. The soft limit
// of open files is the traditional one, as systemd sets it.
const (
	softFiles = 1024
	hardFiles = 1 << 20
)

// prepareProcess sets what init inherits and only the host's root may raise.
func prepareProcess(pid int, own map[string]Rlimit, oomScore int) error {
	for _, l := range baseLimits() {
		if err := setLimit(pid, l.Resource, l.Limit); err != nil {
			return fmt.Errorf("cannot set the resource limits: %w", err)
		}
	}
	for name, l := range own {
		if err := unix.Prlimit(pid, rlimits[name], &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			return fmt.Errorf("cannot set the limit of %s: %w", name, err)
		}
	}
	return setOOMScore(pid, oomScore)
}

// baseLimits are those of every instance's processes.
func baseLimits() []join.Limit {
	var list []join.Limit
	for _, l := range []struct {
		resource int
		limit    unix.Rlimit
	}{
		{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: softFiles, Max: hardFiles}},
		{unix.RLIMIT_CORE, unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_STACK, unix.Rlimit{Cur: 8 << 20, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_NPROC, unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_FSIZE, unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_AS, unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_CPU, unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}},
		{unix.RLIMIT_MEMLOCK, unix.Rlimit{Cur: 8 << 20, Max: 8 << 20}},
	} {
		list = append(list, join.Limit{Resource: l.resource, Limit: l.limit, Try: true})
	}
	return list
}

// execLimits are those of a command: init's.
func execLimits(own map[string]Rlimit) []join.Limit {
	list := baseLimits()
	for name, l := range own {
		list = append(list, join.Limit{Resource: rlimits[name], Limit: unix.Rlimit{Cur: l.Soft, Max: l.Hard}})
	}
	return list
}

// setLimit sets a resource limit, within the hard one where that may not be
// raised: on a host that keeps CAP_SYS_RESOURCE from its root, as some
// containers and services do, the caller's own limits are the best there is.
func setLimit(pid, resource int, l unix.Rlimit) error {
	err := unix.Prlimit(pid, resource, &l, nil)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	var have unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &have); err != nil {
		return err
	}
	l.Max = min(l.Max, have.Max)
	l.Cur = min(l.Cur, l.Max)
	return unix.Prlimit(pid, resource, &l, nil)
}
