package stage

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Flags of the mounts that hold no programs and no devices of their own.
const quiet = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// node is a device of the host that instances have.
type node struct {
	dir, name string
	mount     int // detached
}

// detached are the mounts of an instance before they are attached.
type detached struct {
	proc, sys, dev, pts, shm, mqueue int
	nodes                            []node
	masks                            []int // one /dev/null for each masked file
	sysctls                          int   // /proc/sys, writable, never attached
	cgroupRoot                       int   // tmpfs, -1 on pure v2
	cgroups                          []int
	pristine                         []pristine
}

// masked are files of /proc that an instance sees empty. Its user namespace
// keeps it from using them already; programs inside should not even try.
func masked() []string {
	return []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"}
}

// buildRoot makes the working directory the root, mounts the rest and leaves the
// host's tree. /proc and /sys can only be mounted while the host's are still in
// sight (fs/namespace.c, mount_too_revealing), so they are opened before that.
// The result is /proc/sys as a mount that is not read-only.
func buildRoot(cfg Config) (sysctls int, err error) {
	tree, err := cloneTree(unix.AT_FDCWD, ".") // a copy that is not locked to its place
	if err != nil {
		return -1, fmt.Errorf("cannot copy the root mount: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, ".", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("cannot attach the root mount: %w", err)
	}
	d, err := openDetached(cfg)
	if err != nil {
		return -1, err
	}
	if err := unix.Fchdir(tree); err != nil {
		return -1, fmt.Errorf("cannot enter the root: %w", err)
	}
	if err := unix.Close(tree); err != nil {
		return -1, fmt.Errorf("cannot close the root: %w", err)
	}
	// man pivot_root, "pivot_root(".", ".")".
	if err := unix.PivotRoot(".", "."); err != nil {
		return -1, fmt.Errorf("cannot change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return -1, fmt.Errorf("cannot leave the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return -1, fmt.Errorf("cannot enter the root: %w", err)
	}
	err = d.attach(cfg.Cgroups)
	return d.sysctls, err
}

// openDetached makes the mounts, in this process's namespaces, unattached.
func openDetached(cfg Config) (d detached, err error) {
	for _, m := range []struct {
		fd      *int
		fstype  string
		attrs   int
		options []option
	}{
		{&d.proc, "proc", quiet, nil},
		{&d.sys, "sysfs", quiet, nil},
		{&d.dev, "tmpfs", unix.MOUNT_ATTR_NOSUID, []option{{"mode", "0755"}, {"size", "512k"}}},
		{&d.pts, "devpts", unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC, []option{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}, {"max", "1024"}}},
		{&d.shm, "tmpfs", unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, []option{{"mode", "1777"}}},
		{&d.mqueue, "mqueue", quiet, nil},
	} {
		*m.fd, err = newMount(m.fstype, m.fstype, m.attrs, m.options...)
		if errors.Is(err, unix.ENODEV) && m.fstype == "mqueue" { // CONFIG_POSIX_MQUEUE is off
			*m.fd, err = -1, nil
		}
		if err != nil {
			return d, err
		}
	}
	if err := d.openNodes(); err != nil {
		return d, err
	}
	for _, path := range masked() {
		if exists(path) {
			fd, err := cloneTree(unix.AT_FDCWD, "/dev/null")
			if err != nil {
				return d, fmt.Errorf("cannot bind /dev/null: %w", err)
			}
			d.masks = append(d.masks, fd)
		}
	}
	if err := d.openPristine(cfg.Nesting); err != nil {
		return d, err
	}
	return d, d.openCgroups(cfg.Cgroups)
}

// openNodes binds the host's device nodes: none can be made in a user namespace
// (man user_namespaces). The last two are there when the host has them.
func (d *detached) openNodes() error {
	for _, path := range []string{"null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun"} {
		dir, name := "/dev", path
		if sub, base, ok := strings.Cut(path, "/"); ok {
			dir, name = "/dev/"+sub, base
		}
		fd, err := cloneTree(unix.AT_FDCWD, "/dev/"+path)
		if errors.Is(err, unix.ENOENT) && (path == "fuse" || path == "net/tun") {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot bind /dev/%s: %w", path, err)
		}
		d.nodes = append(d.nodes, node{dir, name, fd})
	}
	return nil
}

// openCgroups mounts the hierarchies: in this cgroup namespace, their roots are
// the instance's own groups.
func (d *detached) openCgroups(list []Hierarchy) (err error) {
	d.cgroupRoot = -1
	if len(list) != 1 || list[0].Dir != "" {
		d.cgroupRoot, err = newMount("tmpfs", "tmpfs", quiet, option{"mode", "0755"}, option{"size", "256k"})
		if err != nil {
			return err
		}
	}
	for _, h := range list {
		fstype, options := "cgroup2", []option(nil)
		if !h.Unified {
			fstype = "cgroup"
			for _, c := range h.Controllers {
				options = append(options, option{c, ""})
			}
			if len(h.Controllers) == 0 {
				options = append(options, option{"none", ""})
			}
			if h.Name != "" {
				options = append(options, option{"name", h.Name})
			}
		}
		fd, err := newMount(fstype, fstype, quiet, options...)
		if err != nil {
			return fmt.Errorf("cgroup hierarchy %s: %w", h.Dir, err)
		}
		d.cgroups = append(d.cgroups, fd)
	}
	return nil
}

// attach puts the mounts into place, below the new root.
func (d *detached) attach(cgroups []Hierarchy) (err error) {
	if err := attach(d.proc, "/proc"); err != nil {
		return err
	}
	if d.sysctls, err = cloneTree(unix.AT_FDCWD, "/proc/sys"); err != nil {
		return fmt.Errorf("cannot bind /proc/sys: %w", err)
	}
	if err := d.protectProc(); err != nil {
		return err
	}
	if err := attach(d.sys, "/sys"); err != nil {
		return err
	}
	if err := protectSys(); err != nil {
		return err
	}
	if d.cgroupRoot >= 0 {
		if err := attach(d.cgroupRoot, "/sys/fs/cgroup"); err != nil {
			return err
		}
	}
	for i, h := range cgroups {
		if err := attach(d.cgroups[i], strings.TrimSuffix("/sys/fs/cgroup/"+h.Dir, "/")); err != nil {
			return err
		}
		if err := linkControllers(h); err != nil {
			return err
		}
	}
	return d.attachDev()
}

// linkControllers makes the customary links from each controller of a joint
// hierarchy to it: cpu -> cpu,cpuacct.
func linkControllers(h Hierarchy) error {
	if len(h.Controllers) < 2 {
		return nil
	}
	for _, c := range h.Controllers {
		if c == h.Dir {
			continue
		}
		if err := os.Symlink(h.Dir, "/sys/fs/cgroup/"+c); err != nil {
			return fmt.Errorf("cannot link cgroup controller %s: %w", c, err)
		}
	}
	return nil
}

// protectProc is LXC's "proc:mixed" (man lxc.container.conf): system settings
// read-only but for the network's, which are the instance's own; and the masks.
func (d *detached) protectProc() error {
	net, err := cloneTree(unix.AT_FDCWD, "/proc/sys/net")
	if err != nil {
		return fmt.Errorf("cannot bind /proc/sys/net: %w", err)
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"} {
		if !exists(path) {
			continue
		}
		fd, err := cloneTree(unix.AT_FDCWD, path)
		if err != nil {
			return fmt.Errorf("cannot bind %s: %w", path, err)
		}
		if err := readOnly(fd, "", unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := cover(fd, path); err != nil {
			return err
		}
	}
	if err := cover(net, "/proc/sys/net"); err != nil {
		return err
	}
	i := 0
	for _, path := range masked() {
		if i < len(d.masks) && exists(path) {
			if err := cover(d.masks[i], path); err != nil {
				return err
			}
			i++
		}
	}
	return nil
}

// cover attaches a detached mount over a path of /proc or /sys, which the kernel
// made and the image cannot influence.
func cover(fd int, path string) error {
	defer func() { _ = unix.Close(fd) }() // attached, it stays without
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot attach %s: %w", path, err)
	}
	return nil
}

// protectSys is LXC's "sys:mixed": read-only but for the settings of network
// interfaces.
func protectSys() error {
	const net = "/sys/devices/virtual/net"
	fd, err := cloneTree(unix.AT_FDCWD, net)
	if err != nil {
		return fmt.Errorf("cannot bind %s: %w", net, err)
	}
	if err := readOnly(unix.AT_FDCWD, "/sys", 0); err != nil {
		return err
	}
	return cover(fd, net)
}

// attachDev fills /dev.
func (d *detached) attachDev() error {
	if err := attach(d.dev, "/dev"); err != nil {
		return err
	}
	for _, m := range []struct {
		fd   int
		path string
	}{{d.pts, "/dev/pts"}, {d.shm, "/dev/shm"}, {d.mqueue, "/dev/mqueue"}} {
		if m.fd < 0 {
			continue
		}
		if err := attach(m.fd, m.path); err != nil {
			return err
		}
	}
	if err := d.attachPristine(); err != nil {
		return err
	}
	for _, n := range d.nodes {
		if err := attachFile(n.mount, n.dir, n.name); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"},
		{"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"},
		{"/proc/self/fd/2", "/dev/stderr"},
		{"pts/ptmx", "/dev/ptmx"},
	} {
		if err := os.Symlink(l[0], l[1]); err != nil {
			return fmt.Errorf("cannot make %s: %w", l[1], err)
		}
	}
	return nil
}
