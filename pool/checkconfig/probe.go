package checkconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
	"poolctl/runtime/cgroup"
)

// prober holds what several probes use.
type prober struct {
	ctx    context.Context
	layout cgroup.Layout
	btrfs  string
	userns *os.File
}

func (p *prober) close() {
	if p.userns != nil {
		_ = p.userns.Close() // it ends the namespace
	}
}

// onThread runs f on a thread of its own, which ends with it and takes the
// namespaces along that f has moved it to.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// namespace makes a namespace.
func namespace(flag int) func(*prober) error {
	return func(*prober) error {
		return onThread(func() error { return unix.Unshare(flag) })
	}
}

// userNamespace makes one with the ids that instances have.
func (p *prober) userNamespace() (err error) {
	uids, gids, err := runtime.DefaultIDMap()
	if err == nil {
		p.userns, err = runtime.UserNamespace(uids, gids)
	}
	return err
}

func exists(path string) func(*prober) error {
	return func(*prober) error {
		_, err := os.Stat(path)
		return err
	}
}

func program(name string) func(*prober) error {
	return func(*prober) error {
		if _, err := exec.LookPath(name); err != nil {
			return errors.New("it is not installed")
		}
		return nil
	}
}

// filesystem asks for a file system's context, which loads its module.
func filesystem(name string) func(*prober) error {
	return func(*prober) error {
		fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func (p *prober) cgroups() error {
	if len(p.layout) == 0 {
		return errors.New("no hierarchy is mounted")
	}
	return nil
}

// controller looks for a controller in the hierarchies, by any of its names.
func controller(names ...string) func(*prober) error {
	return func(p *prober) error {
		for _, h := range p.layout {
			have := h.Controllers
			if h.Unified {
				text, err := os.ReadFile(filepath.Join(h.Mount, "cgroup.controllers"))
				if err != nil {
					return err
				}
				have = strings.Fields(string(text))
			}
			if slices.ContainsFunc(have, func(c string) bool { return slices.Contains(names, c) }) {
				return nil
			}
		}
		return fmt.Errorf("no hierarchy has the controller %s", names[0])
	}
}

// deviceGroups: v2 does by BPF what v1 has a controller for.
func (p *prober) deviceGroups() error {
	if err := controller("devices")(p); err == nil {
		return nil
	}
	return p.cgroupBPF()
}

// freezer is in the core of v2, from Linux 5.2 on.
func (p *prober) freezer() error {
	if controller("freezer")(p) == nil {
		return nil
	}
	for _, h := range p.layout {
		if found, err := filepath.Glob(filepath.Join(h.Mount, "*/cgroup.freeze")); h.Unified && err == nil && len(found) > 0 {
			return nil
		}
	}
	return errNotTried
}

func (p *prober) fileHandles() error {
	_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return nil // the call is there
	}
	return err
}

func (p *prober) eventfd() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func (p *prober) epoll() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// fileCapabilities can be switched off when the kernel is booted (no_file_caps).
func (p *prober) fileCapabilities() error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return errNotTried
	}
	if slices.Contains(strings.Fields(string(line)), "no_file_caps") {
		return errors.New("the kernel was booted with no_file_caps")
	}
	return nil
}

func (p *prober) mountSetattr() error {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(1) << 31})
	if errors.Is(err, unix.ENOSYS) {
		return errors.New("they need Linux 5.12")
	}
	return nil // EBADF or EINVAL
}

// idmappedBtrfs maps a copy of a pool's mount that is attached nowhere.
func (p *prober) idmappedBtrfs() error {
	if p.btrfs == "" || p.userns == nil {
		return atLeast(5, 15)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, p.btrfs, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(p.userns.Fd())}
	return errors.Join(unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr), unix.Close(fd))
}

// atLeast compares the kernel's version.
func atLeast(major, minor int) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	var have, minorHave int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &have, &minorHave); err != nil {
		return errNotTried
	}
	if have < major || have == major && minorHave < minor {
		return fmt.Errorf("it needs Linux %d.%d", major, minor)
	}
	return nil
}

func (p *prober) openat2() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.EXDEV) {
		return nil // "/" is not beneath: it was understood
	}
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func (p *prober) pidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// cloneIntoCgroup starts a process in the cgroup that this one is in.
func (p *prober) cloneIntoCgroup() error {
	h, ok := p.layout.Unified()
	name, err := exec.LookPath("true")
	if !ok || err != nil {
		return errNotTried
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	path := ""
	for line := range strings.Lines(string(own)) {
		if v2, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			path = v2
		}
	}
	dir, err := os.Open(filepath.Join(h.Mount, path))
	if err != nil {
		return errNotTried // its cgroup is not to be seen from here
	}
	defer dir.Close()
	cmd := exec.CommandContext(p.ctx, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return cmd.Run()
}

// cgroupBPF loads the program for devices that allows everything ("r0 = 1;
// exit"), and attaches it to nothing (man bpf, BPF_PROG_LOAD).
func (p *prober) cgroupBPF() error {
	const (
		progLoad     = 5
		cgroupDevice = 15 // BPF_PROG_TYPE_CGROUP_DEVICE
	)
	code := []uint64{0x00000001_000000b7, 0x95}
	license := []byte("GPL\x00")
	attr := struct {
		typ, count     uint32
		insns, license uint64
		_              [24]uint32
	}{cgroupDevice, uint32(len(code)), uint64(uintptr(unsafe.Pointer(&code[0]))), uint64(uintptr(unsafe.Pointer(&license[0]))), [24]uint32{}}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, progLoad, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	goruntime.KeepAlive(code)
	goruntime.KeepAlive(license)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}
