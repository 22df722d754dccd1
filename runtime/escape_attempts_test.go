package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An escape is an attempt to get out of an instance, or to change its host. try is
// made by this test binary as the instance's root; nil is what must not come of it.
type escape struct {
	name, what string
	try        func() error
	// want are the errors that it may end with; none: any.
	want []error
	// harmless attempts may succeed: the host is looked at afterwards.
	harmless bool
}

// What an attempt needs to know of the host, by environment.
const (
	attemptEnv = "RUNTIME_TEST_ATTEMPT"
	hostPIDEnv = "RUNTIME_TEST_HOST_PID"
	canaryEnv  = "RUNTIME_TEST_CANARY"
)

const escapeName = "poolctl-escape"

// attempt makes one attempt and says how it ended.
func attempt(name string) string {
	for _, e := range escapes() {
		if e.name != name {
			continue
		}
		err := e.try()
		if err == nil {
			return "succeeded"
		}
		if len(e.want) > 0 && !slices.ContainsFunc(e.want, func(w error) bool { return errors.Is(err, w) }) {
			return "unexpectedly " + err.Error()
		}
		return "contained: " + err.Error()
	}
	return "unknown"
}

func hostPID() int {
	pid, _ := strconv.Atoi(os.Getenv(hostPIDEnv))
	return pid
}

// call is a system call that ought to be refused.
func call(trap uintptr, args ...uintptr) func() error {
	return func() error {
		args := append(args, 0, 0, 0, 0, 0, 0)
		if _, _, errno := unix.Syscall6(trap, args[0], args[1], args[2], args[3], args[4], args[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

func writeTo(paths ...string) func() error {
	return func() error {
		var last error = unix.ENOENT
		for _, path := range paths {
			value := "1"
			if strings.HasSuffix(path, "core_pattern") || strings.HasSuffix(path, "modprobe") || strings.HasSuffix(path, "helper") || strings.HasSuffix(path, "agent") {
				value = "|/" + escapeName
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString(value)
				_ = f.Close()
			}
			if err == nil {
				return nil
			}
			last = err
		}
		return last
	}
}

func mounts(source, fstype, options string) func() error {
	return func() error {
		dir, err := os.MkdirTemp("/tmp", "mount")
		if err != nil {
			return err
		}
		return unix.Mount(source, dir, fstype, 0, options)
	}
}

func ioctl(path string, request, arg uintptr) func() error {
	return func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return call(unix.SYS_IOCTL, f.Fd(), request, arg)()
	}
}

// nested runs an attempt in a user and a mount namespace made inside.
func nested(name string) func() error {
	return func() error {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), attemptEnv+"="+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{Size: 65536}}, GidMappings: []syscall.SysProcIDMap{{Size: 65536}},
		}
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		if s := strings.TrimSpace(string(out)); s != "succeeded" {
			return errors.New(s)
		}
		return nil
	}
}

var (
	absent    = []error{unix.ENOSYS}
	forbidden = []error{unix.EPERM, unix.EACCES, unix.EROFS}
	gone      = []error{unix.ENOENT, unix.ESRCH, unix.ENXIO, unix.ECONNREFUSED}
	nothing   = append(append([]error{}, forbidden...), gone...)
)

func escapes() []escape {
	return slices.Concat(escapesBySyscall(), escapesByFiles(), escapesByMounts(), escapesToProcesses(), escapesOfLimits(), escapesByBtrfs())
}

// argument is what pointers of system calls point to: zeros that do not move.
var argument [128]byte

// escapesBySyscall are what the filter, or the kernel, refuses.
func escapesBySyscall() []escape {
	p := uintptr(unsafe.Pointer(&argument[0]))
	empty, _ := unix.BytePtrFromString("")
	root, _ := unix.BytePtrFromString("/")
	return []escape{
		{name: "open_by_handle_at", what: "open a file of the host's by its handle (shocker)", try: call(unix.SYS_OPEN_BY_HANDLE_AT, 3, p, 0), want: absent},
		{name: "kexec_load", what: "boot another kernel", try: call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0), want: absent},
		{name: "kexec_file_load", what: "boot another kernel from a file", try: call(unix.SYS_KEXEC_FILE_LOAD, 0, 0, 0, 0, 0), want: absent},
		{name: "init_module", what: "load a module", try: call(unix.SYS_INIT_MODULE, p, 16, uintptr(unsafe.Pointer(empty))), want: absent},
		{name: "finit_module", what: "load a module from a file", try: call(unix.SYS_FINIT_MODULE, 0, uintptr(unsafe.Pointer(empty)), 0), want: absent},
		{name: "delete_module", what: "remove a module", try: call(unix.SYS_DELETE_MODULE, uintptr(unsafe.Pointer(root)), 0), want: absent},
		{name: "bpf", what: "load a BPF program", try: call(unix.SYS_BPF, unix.BPF_PROG_LOAD, p, 16), want: absent},
		{name: "io_uring", what: "make a ring, whose work no filter sees", try: call(unix.SYS_IO_URING_SETUP, 1, p), want: absent},
		{name: "userfaultfd", what: "stop the kernel in the middle of a copy", try: call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC), want: absent},
		{name: "perf_event_open", what: "measure the kernel", try: call(unix.SYS_PERF_EVENT_OPEN, p, 0, ^uintptr(0), ^uintptr(0), 0), want: absent},
		{name: "keyctl", what: "read the session keyring of the caller", try: call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, uintptr(^uint32(2)), 0), want: absent},
		{name: "add_key", what: "fill the quota of keys that the instances' users share", try: call(unix.SYS_ADD_KEY, uintptr(unsafe.Pointer(root)), uintptr(unsafe.Pointer(root)), 0, 0, 0), want: absent},
		{name: "swapon", what: "swap to a file", try: call(unix.SYS_SWAPON, uintptr(unsafe.Pointer(root)), 0), want: absent},
		{name: "acct", what: "have the host's processes accounted", try: call(unix.SYS_ACCT, uintptr(unsafe.Pointer(root))), want: absent},
		{name: "umount-force", what: "break a network file system that others use", try: call(unix.SYS_UMOUNT2, uintptr(unsafe.Pointer(root)), unix.MNT_FORCE), want: forbidden},
		{name: "settimeofday", what: "set the clock", try: call(unix.SYS_SETTIMEOFDAY, p, 0), want: forbidden},
		{name: "clock_settime", what: "set the clock the other way", try: call(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, p), want: forbidden},
		{name: "adjtimex", what: "make the clock run faster", try: func() error { _, err := unix.Adjtimex(&unix.Timex{Modes: 2, Freq: 65536}); return err }, want: forbidden},
		{name: "reboot", what: "take Ctrl-Alt-Delete away from the host", try: func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }, want: []error{unix.EINVAL}},
		{name: "syslog", what: "clear the kernel's log", try: call(unix.SYS_SYSLOG, 5, 0, 0), want: forbidden},
		{name: "quotactl", what: "switch quotas on", try: call(unix.SYS_QUOTACTL, 0x80000200, uintptr(unsafe.Pointer(root)), 2, uintptr(unsafe.Pointer(root))), want: append([]error{unix.ENOSYS, unix.ENOTBLK}, forbidden...)},
		{name: "fanotify", what: "decide which files the host may open", try: call(unix.SYS_FANOTIFY_INIT, unix.FAN_CLASS_CONTENT, 0), want: forbidden},
		{name: "unmapped-id", what: "become a user of the host's that is none of the instance's", try: call(unix.SYS_SETRESUID, 0xfffffff0, 0xfffffff0, 0xfffffff0), want: []error{unix.EINVAL}},
		{name: "unmapped-chown", what: "give a file to a user of the host's", try: func() error { return os.Chown("/tmp", 0x7ffffff0, -1) }, want: []error{unix.EINVAL}},
	}
}

// escapesByFiles are by what is in /proc, /sys and /dev.
func escapesByFiles() []escape {
	return []escape{
		{name: "sysrq", what: "crash the host", try: writeTo("/proc/sysrq-trigger"), want: nothing},
		{name: "core_pattern", what: "have the kernel run a program when another one crashes", try: writeTo("/proc/sys/kernel/core_pattern"), want: forbidden},
		{name: "modprobe", what: "have the kernel run a program instead of modprobe", try: writeTo("/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug"), want: nothing},
		{name: "uevent_helper", what: "have the kernel run a program when a device comes", try: writeTo("/sys/kernel/uevent_helper"), want: nothing},
		{name: "sysctl", what: "change settings of the whole system", try: writeTo("/proc/sys/kernel/sysrq", "/proc/sys/kernel/pid_max", "/proc/sys/kernel/panic", "/proc/sys/vm/panic_on_oom",
			"/proc/sys/vm/overcommit_memory", "/proc/sys/fs/suid_dumpable", "/proc/sys/fs/protected_symlinks", "/proc/sys/kernel/randomize_va_space"), want: forbidden},
		{name: "sysctl-remounted", what: "the same after /proc/sys has been made writable", try: func() error {
			_ = unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") // its own mount: it may
			return writeTo("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/sysrq", "/proc/sys/vm/drop_caches")()
		}, want: forbidden},
		{name: "sysrq-remounted", what: "the same of sysrq-trigger", try: func() error {
			_ = unix.Mount("", "/proc/sysrq-trigger", "", unix.MS_REMOUNT|unix.MS_BIND, "")
			_ = unix.Unmount("/proc/sysrq-trigger", unix.MNT_DETACH)
			return writeTo("/proc/sysrq-trigger")()
		}, want: nothing},
		{name: "kcore", what: "read the kernel's memory, with what hides it unmounted", try: func() error {
			_ = unix.Unmount("/proc/kcore", unix.MNT_DETACH)
			return canRead("/proc/kcore")
		}, want: nothing},
		{name: "release_agent", what: "have the kernel run a program when a cgroup is empty (CVE-2022-0492)", try: func() error {
			files, _ := filepath.Glob("/sys/fs/cgroup/*/release_agent")
			if err := writeTo(files...)(); !errors.Is(err, unix.ENOENT) {
				return err
			}
			return mounts("none", "cgroup", "none,name="+escapeName+",release_agent=/"+escapeName)()
		}, want: append([]error{unix.EINVAL}, nothing...)},
		{name: "devices.allow", what: "allow itself all devices", try: func() error {
			files, _ := filepath.Glob("/sys/fs/cgroup/devices/devices.allow")
			for _, f := range files {
				if err := os.WriteFile(f, []byte("a"), 0); err == nil {
					return nil
				}
			}
			return unix.EPERM
		}, want: forbidden},
		{name: "cgroup-limits", what: "raise the limits of the instance", try: writeTo("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/memory.max"), want: nothing},
		{name: "mknod-char", what: "make a node of the machine's memory", try: func() error { return unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) }, want: forbidden},
		{name: "mknod-block", what: "make a node of a disk", try: func() error { return unix.Mknod("/tmp/loop", unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))) }, want: forbidden},
		{name: "image-node", what: "open a node that the image brought along", try: func() error { return canRead("/image-kmsg") }, want: forbidden},
		{name: "image-node-remounted", what: "the same with devices allowed on the mount", try: func() error {
			_ = unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")
			return canRead("/image-kmsg")
		}, want: forbidden},
		{name: "dev", what: "open what the machine has", try: func() error {
			for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/loop-control", "/dev/mapper/control", "/dev/btrfs-control", "/dev/kvm", "/dev/sda", "/dev/loop0", "/dev/vda"} {
				if err := canRead(path); err == nil {
					return nil
				}
			}
			return unix.ENOENT
		}, want: nothing},
		{name: "tiocsti", what: "type at the caller's terminal", try: func() error {
			if err := ioctl("/dev/tty", unix.TIOCSTI, uintptr(unsafe.Pointer(&argument[0])))(); err == nil {
				return nil
			}
			return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&argument[0])))()
		}},
		{name: "fifreeze", what: "freeze the file system that all instances are on", try: ioctl("/", 0xc0045877, 0), want: append([]error{unix.EOPNOTSUPP}, forbidden...)},
		{name: "fitrim", what: "trim that file system", try: ioctl("/", 0xc0185879, uintptr(unsafe.Pointer(&argument[0]))), want: append([]error{unix.EOPNOTSUPP}, forbidden...)},
		{name: "immutable", what: "make a file that its host cannot delete", try: func() error {
			if err := os.WriteFile("/tmp/immutable", nil, 0o600); err != nil {
				return err
			}
			argument[0] = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
			return ioctl("/tmp/immutable", unix.FS_IOC_SETFLAGS, uintptr(unsafe.Pointer(&argument[0])))()
		}, want: append([]error{unix.ENOTTY, unix.EOPNOTSUPP}, forbidden...)},
	}
}

func canRead(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		_, err = f.Read(make([]byte, 16))
		_ = f.Close()
	}
	return err
}

// escapesByMounts are by what can be mounted, and by namespaces made inside.
func escapesByMounts() []escape {
	return []escape{
		{name: "mount-btrfs", what: "mount the pool's file system", try: mounts("/dev/loop0", "btrfs", ""), want: nothing},
		{name: "mount-ext4", what: "mount a disk of the host's", try: mounts("/dev/vda", "ext4", ""), want: nothing},
		{name: "mount-debugfs", what: "mount the kernel's debugging files", try: mounts("none", "debugfs", ""), want: append([]error{unix.ENODEV}, forbidden...)},
		{name: "mount-tracefs", what: "mount the kernel's tracing files", try: mounts("none", "tracefs", ""), want: append([]error{unix.ENODEV}, forbidden...)},
		{name: "mount-devtmpfs", what: "mount the host's /dev", try: mounts("none", "devtmpfs", ""), want: forbidden},
		{name: "mount-securityfs", what: "mount the files of the security modules", try: mounts("none", "securityfs", ""), want: append([]error{unix.ENODEV}, forbidden...)},
		{name: "binfmt_misc", what: "have the kernel run a program for others", try: func() error {
			if err := mounts("none", "binfmt_misc", "")(); err != nil {
				return err
			}
			files, _ := filepath.Glob("/tmp/mount*/register")
			if len(files) == 0 {
				return unix.ENOENT
			}
			return os.WriteFile(files[0], []byte(":"+escapeName+":M::PCTL::/bin/busybox:F"), 0)
		}, harmless: true}, // since Linux 6.7 a user namespace has formats of its own
		{name: "chroot", what: "leave the root by a second one", try: func() error {
			fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			if err := errors.Join(os.MkdirAll("/tmp/jail", 0o700), unix.Chroot("/tmp/jail"), unix.Fchdir(fd)); err != nil {
				return err
			}
			for range 50 {
				if err := unix.Chdir(".."); err != nil {
					return err
				}
			}
			return canRead("." + os.Getenv(canaryEnv))
		}, want: gone},
		{name: "umount-root", what: "see what the root is mounted over", try: func() error {
			for range 5 {
				if err := unix.Unmount("/", unix.MNT_DETACH); err != nil {
					break
				}
			}
			return canRead(os.Getenv(canaryEnv))
		}},
		{name: "nested-proc", what: "mount a /proc that hides nothing in a user namespace inside", try: nested("nested-proc-inside")},
		{name: "nested-proc-inside", what: "its part inside", try: mounts("proc", "proc", "")},
		{name: "nested-root", what: "take nodev away in a user namespace inside", try: nested("image-node-remounted")},
		{name: "nested-sysctl", what: "write settings from a user namespace inside", try: nested("sysctl-remounted")},
		{name: "nested-mknod", what: "make a device node in a user namespace inside", try: nested("mknod-char")},
		{name: "parent-userns", what: "get a descriptor of the host's user namespace", try: ioctl("/proc/self/ns/user", unix.NS_GET_PARENT, 0), want: forbidden},
		{name: "parent-pidns", what: "get a descriptor of the host's pid namespace", try: ioctl("/proc/self/ns/pid", unix.NS_GET_PARENT, 0), want: forbidden},
	}
}

// escapesToProcesses are against what runs outside.
func escapesToProcesses() []escape {
	return []escape{
		{name: "proc-pid", what: "see a process of the host's", try: func() error { _, err := os.Stat(fmt.Sprintf("/proc/%d", hostPID())); return err }, want: gone},
		{name: "proc-1-root", what: "reach the host by its init", try: func() error { return canRead("/proc/1/root" + os.Getenv(canaryEnv)) }, want: gone},
		{name: "kill", what: "kill a process of the host's", try: func() error { return unix.Kill(hostPID(), 0) }, want: gone},
		{name: "pidfd", what: "take hold of a process of the host's", try: func() error { _, err := unix.PidfdOpen(hostPID(), 0); return err }, want: gone},
		{name: "pidfd_getfd", what: "take a file of init's, which the supervisor shares", try: func() error {
			fd, err := unix.PidfdOpen(1, 0)
			if err != nil {
				return err
			}
			for n := 3; n < 32; n++ { // 0 to 2 are the console
				if _, err := unix.PidfdGetfd(fd, n, 0); err == nil {
					return nil
				}
			}
			return unix.EBADF
		}},
		{name: "ptrace", what: "trace a process of the host's", try: func() error { return unix.PtraceAttach(hostPID()) }, want: gone},
		{name: "process_vm_readv", what: "read its memory", try: func() error {
			local := []unix.Iovec{{Base: &argument[0], Len: 16}}
			_, err := unix.ProcessVMReadv(hostPID(), local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&argument[64])), Len: 16}}, 0)
			return err
		}, want: gone},
		{name: "abstract-socket", what: "ask a process of the host's for a directory", try: func() error {
			c, err := net.DialTimeout("unix", "@"+escapeName, time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err
		}, want: gone},
		{name: "interfaces", what: "see the host's network interfaces", try: func() error {
			all, err := net.Interfaces()
			if err != nil {
				return err
			}
			for _, i := range all {
				if i.Name != "lo" {
					return nil
				}
			}
			return unix.ENOENT
		}},
		{name: "move-link", what: "put an interface into the host's network", try: func() error {
			_, err := os.Stat("/sys/class/net/" + escapeName[:8])
			out, cerr := exec.Command("/bin/busybox", "ip", "link", "set", "lo", "netns", strconv.Itoa(hostPID())).CombinedOutput()
			if cerr != nil {
				return fmt.Errorf("%w: %s", unix.ESRCH, out)
			}
			return err
		}, want: gone},
		{name: "hostname", what: "rename the host", try: func() error {
			return errors.Join(unix.Sethostname([]byte(escapeName)), unix.Setdomainname([]byte(escapeName)))
		}, harmless: true},
		{name: "exe", what: "write to the host's program by its /proc/self/exe (CVE-2019-5736)", try: func() error {
			errs := []error{}
			for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC | os.O_APPEND} {
				f, err := os.OpenFile("/proc/self/exe", flags, 0)
				if err == nil {
					_ = f.Close()
					return nil
				}
				errs = append(errs, err)
			}
			if err := os.Chmod("/proc/self/exe", 0o777); err == nil {
				return nil
			}
			return errors.Join(errs...)
		}, want: []error{unix.EACCES, unix.EROFS}},
		{name: "session-key-inside", what: "find a key of the caller", try: searchKey, want: []error{unix.ENOKEY}},
		{name: "watch-inside", what: "write to the program of whoever enters the instance", try: watchPrograms},
		{name: "cwd", what: "leave by the directory that the command was started in (CVE-2024-21626)", try: func() error {
			links, _ := filepath.Glob("/proc/self/fd/*")
			for _, l := range append(links, "/proc/self/cwd") {
				if canRead(l+"/.."+os.Getenv(canaryEnv)) == nil || canRead(l+"/../../../../../.."+os.Getenv(canaryEnv)) == nil {
					return nil
				}
			}
			return unix.ENOENT
		}, want: gone},
	}
}

// escapesOfLimits are for more of the machine than is the instance's.
func escapesOfLimits() []escape {
	return []escape{
		{name: "rlimit", what: "raise a hard limit", try: func() error {
			var l unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
				return err
			}
			l.Max++
			return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
		}, want: forbidden},
		{name: "memlock", what: "lock all memory", try: func() error {
			return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 40})
		}, want: forbidden},
		{name: "oom_score_adj", what: "have others killed when memory ends", try: func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) }, want: forbidden},
		{name: "realtime", what: "run before everybody else", try: func() error {
			argument[0] = 50
			return call(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&argument[0])))()
		}, want: forbidden},
		{name: "ioprio", what: "read before everybody else", try: call(unix.SYS_IOPRIO_SET, 1, 0, 1<<13), want: forbidden},
		{name: "nice", what: "run more than others", try: func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }, want: forbidden},
	}
}

// watchPrograms looks for processes whose program it can write to, or for what it
// was after they have ended.
func watchPrograms() error {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return err
	}
	var held []int
	for end := time.Now().Add(time.Second / 2); time.Now().Before(end); {
		links, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, l := range links {
			fd, err := unix.Open(l, unix.O_PATH, 0)
			if err != nil {
				continue
			}
			held = append(held, fd)
			if len(held) == 1000 {
				break
			}
		}
	}
	for _, fd := range held {
		link := fmt.Sprintf("/proc/self/fd/%d", fd)
		st, err := os.Stat(link)
		name, _ := os.Readlink(link)
		if err != nil || os.SameFile(st, self) || strings.HasPrefix(name, "/bin/") {
			continue
		}
		f, err := os.OpenFile(link, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("x")
			_ = f.Close()
		}
		if err == nil {
			return nil
		}
	}
	return unix.EACCES
}
