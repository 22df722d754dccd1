package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"poolctl/runtime/caps"
	"poolctl/runtime/stage"
)

// An instance's root must not be able to make a disk writable that is to be
// read-only, or to open the device nodes in one. The kernel locks the flags of a
// mount only when it is copied into the mount namespace of a less privileged
// user namespace (man mount_namespaces). So the mounts are attached in a
// temporary mount namespace, to a file system made for that; a helper process in
// user and mount namespaces of its own makes detached copies of them there, and
// hands them back:
//
//	caller                                      helper (package stage, RunHelper)
//	in a mount namespace that nobody else has
//	mounts holder on the run directory
//	attaches the disks to holder/d0, d1, ...
//	starts the helper in it           ------>   its copies of d0, d1, ... are locked
//	                                  <------   Disk + descriptor of an unattached copy of d0, ...
//	unmounts holder
//
// The copies are locked in their flags, but not to their place: they can be
// unmounted again.

// lockedMounts makes unattached mounts of the disks, their ids mapped by the
// user namespace of process pid. It is to be called on a locked thread in a
// mount namespace that will be given up, and uses the run directory there.
func lockedMounts(ctx context.Context, runDir string, disks []Disk, uids, gids []IDMap, pid int) (_ []int, err error) {
	if len(disks) == 0 {
		return nil, nil
	}
	holder, err := stage.NewHolder()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(holder)) }()
	if err := unix.MoveMount(holder, "", unix.AT_FDCWD, runDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("cannot attach a mount to %s: %w", runDir, err)
	}
	defer func() {
		if uerr := unix.Unmount(runDir, unix.MNT_DETACH); uerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot unmount %s: %w", runDir, uerr))
		}
	}()
	for i, d := range disks {
		if err := holdDisk(holder, fmt.Sprintf("d%d", i), d, uids, gids, pid); err != nil {
			return nil, fmt.Errorf("%s: %w", d.label(), err)
		}
	}
	return runHelper(ctx, runDir, len(disks), uids, gids)
}

// namespace is the user namespace that maps the ids of a disk: that of process
// pid, or where those on disk are shifted, one that maps them to its.
func (d Disk) namespace(uids, gids []IDMap, pid int) (*os.File, error) {
	if d.Shifted.Size > 0 {
		return UserNamespace(composeMaps([]IDMap{d.Shifted}, uids), composeMaps([]IDMap{d.Shifted}, gids))
	}
	userns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("cannot open the instance's user namespace: %w", err)
	}
	return userns, nil
}

// holdDisk attaches the mount of a disk in the holder. The ids of a privileged
// instance need no mapping.
func holdDisk(holder int, name string, d Disk, uids, gids []IDMap, pid int) (err error) {
	if d.Node != (Node{}) {
		return d.Node.hold(holder, name, uids, gids)
	}
	source, err := unix.Open(d.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", d.Source, err)
	}
	defer func() { _ = unix.Close(source) }() // a path only
	flags := uint(unix.AT_EMPTY_PATH | unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	recursive := uint(0)
	if d.Recursive {
		recursive = unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(source, "", flags|recursive)
	if err != nil {
		return fmt.Errorf("cannot copy the mount of %s: %w", d.Source, err)
	}
	defer func() { _ = unix.Close(tree) }() // attached, it stays without
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if stage.FollowsHost(d.Propagation) {
		attr.Propagation = unix.MS_SLAVE // what the copies that are made of it keep
	}
	if d.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if d.Mapped && (d.Shifted.Size > 0 || !slices.Equal(uids, HostIDMap())) {
		userns, err := d.namespace(uids, gids, pid)
		if err != nil {
			return err
		}
		defer func() { _ = userns.Close() }() // the mount holds it
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(userns.Fd())
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|recursive, &attr)
	if d.Mapped && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
		return &hintError{
			msg:  fmt.Sprintf("cannot map the ids of %s: a filesystem there does not support idmapped mounts", d.Source),
			hint: "without shift=true its files belong to nobody inside; a recursive disk has to have such filesystems only",
		}
	}
	if err != nil {
		return fmt.Errorf("cannot set the flags of the mount of %s: %w", d.Source, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(source, &st); err != nil {
		return fmt.Errorf("cannot look at %s: %w", d.Source, err)
	}
	if err := stage.MakeTarget(holder, name, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", holder, name, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot attach the mount of %s: %w", d.Source, err)
	}
	return nil
}

// runHelper executes this program as the helper and takes the mounts from it.
func runHelper(ctx context.Context, dir string, n int, uids, gids []IDMap) (_ []int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "caller")
	defer func() { err = errors.Join(err, ours.Close()) }()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{mountsName, strconv.Itoa(n)}
	cmd.Dir = dir
	cmd.Env = supervisorEnv
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings:                sysMap(uids),
		GidMappings:                sysMap(gids),
		GidMappingsEnableSetgroups: true,
		AmbientCaps:                caps.All(),
		Pdeathsig:                  unix.SIGKILL,
	}
	err = cmd.Start()
	if cerr := theirs.Close(); err == nil && cerr != nil {
		err = errors.Join(cerr, cmd.Process.Kill(), cmd.Wait())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make namespaces for the disks: %w", err)
	}
	mounts := make([]int, 0, n)
	for range n {
		fd := -1
		if err = expect(int(ours.Fd()), stage.KindDisk, &fd); err != nil {
			break
		}
		mounts = append(mounts, fd)
	}
	werr := cmd.Wait()
	if err == nil {
		err = werr
	}
	if err != nil {
		closeMounts(mounts)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("cannot prepare the disks: %w", err)
	}
	return mounts, nil
}

func closeMounts(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // unattached: nothing is lost
	}
}
