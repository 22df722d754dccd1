package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime/stage"
)

// ErrDiskBusy says that a disk cannot be taken away: something inside uses it.
var ErrDiskBusy = errors.New("it is in use inside the instance")

// AttachDisk mounts a disk in the running instance, which may then use the device
// of its node. The caller keeps others from
// changing the disks of the instance at the same time.
func (i *Instance) AttachDisk(ctx context.Context, d Disk) error {
	if err := d.validate(); err != nil {
		return err
	}
	disks, err := i.Disks()
	if err != nil {
		return err
	}
	for _, have := range disks {
		if have.Inside() == d.Inside() {
			return fmt.Errorf("cannot mount %s at %s: %s is there", d.label(), d.Path, have.label())
		}
	}
	mount := -1
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("cannot make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("cannot make the mounts private: %w", err)
		}
		mounts, err := lockedMounts(ctx, i.dir, []Disk{d}, i.state.UIDMap, i.state.GIDMap, i.state.InitPID)
		if err == nil {
			mount = mounts[0]
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot mount %s: %w", d.label(), err)
	}
	defer func() { _ = unix.Close(mount) }() // attached, it stays without
	// Before it is mounted: DetachDisk takes away what it knows of, mounted or not.
	with := append(slices.Clone(disks), d)
	if err := saveDisks(i.dir, with); err != nil {
		return err
	}
	if err := i.changeNodes(disks, with); err != nil {
		return errors.Join(fmt.Errorf("cannot allow %s: %w", d.label(), err), saveDisks(i.dir, disks), i.changeNodes(with, disks))
	}
	placed := false
	err = i.inside(func(root, _ int) error {
		if err := i.becomeInside(); err != nil {
			return err
		}
		if err := stage.AttachDisk(mount, root, d.staged()); err != nil {
			return err
		}
		placed = true
		return stage.Propagate(mount, d.Propagation)
	})
	if err != nil {
		if placed {
			err = errors.Join(err, i.unmount(d))
		}
		return errors.Join(fmt.Errorf("cannot mount %s: %w", d.label(), err), saveDisks(i.dir, disks), i.changeNodes(with, disks))
	}
	return nil
}

// DetachDisk unmounts the disk of a device in the running instance. One that is
// not mounted is no error; one that something inside uses is ErrDiskBusy; but one with mounts
// below it is taken away all the same, and stays with what uses it. A node
// is taken away whoever has its device open, and keeps it.
func (i *Instance) DetachDisk(device string) error {
	disks, err := i.Disks()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(disks, func(d Disk) bool { return d.Device == device })
	if at < 0 {
		return nil
	}
	if err := i.unmount(disks[at]); err != nil {
		return fmt.Errorf("cannot unmount %s: %w", disks[at].label(), err)
	}
	without := slices.Delete(slices.Clone(disks), at, at+1)
	// The rule first: DetachDisk takes away what it knows of, allowed or not.
	if err := i.changeNodes(disks, without); err != nil {
		return fmt.Errorf("cannot take device %s away: %w", device, err)
	}
	return saveDisks(i.dir, without)
}

// unmount ends the mount of a disk. What else the instance has mounted at its
// path is left alone.
func (i *Instance) unmount(d Disk) error {
	var source unix.Stat_t
	serr := unix.Stat(d.Source, &source)
	return i.inside(func(root, fds int) error {
		place, err := stage.OpenMounted(root, d.Inside())
		if errors.Is(err, unix.ENOENT) {
			return nil // the instance has removed it
		} else if err != nil {
			return err
		}
		var st unix.Statx_t
		err = unix.Statx(place, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
		path := ""
		if err == nil {
			path, err = readlinkFD(fds, place)
		}
		if err = errors.Join(err, unix.Close(place)); err != nil {
			return err
		}
		if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			return nil // the instance has unmounted it
		}
		if d.Node != (Node{}) && !d.Node.isAt(st) || d.Node == (Node{}) && serr == nil && (st.Ino != source.Ino || unix.Mkdev(st.Dev_major, st.Dev_minor) != source.Dev) {
			return fmt.Errorf("something else is mounted at %s inside", d.Path)
		}
		// By its parent: a path to it would be a reference to the mount.
		if err := unix.Chdir(filepath.Dir(path)); err != nil {
			return fmt.Errorf("cannot enter %s: %w", filepath.Dir(path), err)
		}
		if d.Node != (Node{}) {
			return i.unmountNode(filepath.Base(path))
		}
		flags := unix.UMOUNT_NOFOLLOW
		if d.Recursive || stage.FollowsHost(d.Propagation) {
			flags |= unix.MNT_DETACH // what is mounted below it would keep it: what uses it, keeps it
		}
		err = unix.Unmount(filepath.Base(path), flags)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("%s: %w", d.Path, ErrDiskBusy)
		}
		return err
	})
}

// readlinkFD is the path of a descriptor, as the calling thread's root has it;
// fds is an open /proc/thread-self/fd.
func readlinkFD(fds, fd int) (string, error) {
	buf := make([]byte, 2*unix.PathMax)
	n, err := unix.Readlinkat(fds, strconv.Itoa(fd), buf)
	if err != nil {
		return "", fmt.Errorf("cannot find the mount: %w", err)
	}
	return string(buf[:n]), nil
}

// onOwnThread calls do on a thread that ends with it, whatever it changed. That is
// never the program's main thread, which Go does not let end.
func onOwnThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(do) // on another one, as this one is taken
			goruntime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

// inside calls do on a thread of its own in the mount namespace of the instance;
// root is that one's root, fds the thread's /proc/thread-self/fd.
func (i *Instance) inside(do func(root, fds int) error) error {
	return onOwnThread(func() error {
		mnt, err := os.Open("/proc/" + strconv.Itoa(i.state.InitPID) + "/ns/mnt")
		if err != nil {
			return fmt.Errorf("cannot open the instance's mount namespace: %w", err)
		}
		defer func() { _ = mnt.Close() }()
		if ended(i.pidfd) { // else the number is still its own
			return ErrNotRunning
		}
		// The kernel lets a thread that shares its directories with others into
		// no mount namespace (man setns).
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("cannot prepare a thread: %w", err)
		}
		fds, err := unix.Open("/proc/thread-self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open /proc: %w", err)
		}
		defer func() { _ = unix.Close(fds) }() // a directory
		if err := unix.Setns(int(mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("cannot enter the instance's mount namespace: %w", err)
		}
		root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot open the instance's root: %w", err)
		}
		defer func() { _ = unix.Close(root) }() // a path only
		return do(root, fds)
	})
}

// becomeInside gives the calling thread's files the owner that the instance's
// root has. That takes the capabilities about files away, which come back as
// they are permitted (man capabilities).
func (i *Instance) becomeInside() error {
	uid, ok1 := hostID(i.state.UIDMap, 0)
	gid, ok2 := hostID(i.state.GIDMap, 0)
	if !ok1 || !ok2 {
		return errors.New("the instance has no root")
	}
	unix.Umask(0o022) // of this thread: it shares its directories with none
	for trap, id := range map[uintptr]int{unix.SYS_SETFSGID: gid, unix.SYS_SETFSUID: uid} {
		_, _, _ = unix.RawSyscall(trap, uintptr(id), 0, 0) // returns the former id, never an error
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("cannot read the capabilities: %w", errno)
	}
	for k := range data {
		data[k].Effective = data[k].Permitted
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("cannot set the capabilities: %w", errno)
	}
	return nil
}
