package stage

import (
	"errors"
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"poolctl/runtime/caps"
)

// Run is the whole life of the stage, on a thread that must be locked to it. It
// returns only on failure, which it has then told the supervisor.
func Run() {
	err := run(SocketFD)
	if errors.Is(err, ErrClosed) {
		return // the supervisor is gone
	}
	// Nobody is left to tell when this fails.
	_ = Send(SocketFD, Message{Kind: KindFailed, Error: err.Error()}, -1)
}

func run(sock int) error {
	unix.CloseOnExec(sock)
	if err := leaveKeyring(); err != nil {
		return err
	}
	m, _, err := Receive(sock)
	if err != nil {
		return err
	}
	if m.Kind != KindConfig || m.Config == nil {
		return fmt.Errorf("unexpected message %q", m.Kind)
	}
	cfg := *m.Config
	disks, err := receiveDisks(sock, cfg.Disks)
	if err != nil {
		return err
	}
	if err := becomeRoot(); err != nil {
		return err
	}
	if err := enterCgroups(cfg.Tasks); err != nil {
		return err
	}
	if err := receiveRoot(sock); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
		return fmt.Errorf("cannot set the hostname: %w", err)
	}
	sysctls, err := buildRoot(cfg)
	if err != nil {
		return err
	}
	if err := attachDisks(cfg.Disks, disks); err != nil {
		return err
	}
	if err := openConsole(sock); err != nil {
		return err
	}
	if m, _, err = Receive(sock); err != nil {
		return err
	}
	if m.Kind != KindGo {
		return fmt.Errorf("unexpected message %q", m.Kind)
	}
	if err := setSysctls(sysctls, cfg.Sysctls); err != nil {
		return err
	}
	return execInit(cfg)
}

// leaveKeyring takes the keys of whoever started the instance away: what has a
// session keyring may read what is in it, whatever its ids (man
// session-keyring). It is not there where the kernel has no keys, or an instance
// around this one hides them.
func leaveKeyring() error {
	// Raw, as x/sys has no way to say that it is to have no name.
	_, _, errno := unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	if errno != 0 && errno != unix.ENOSYS && errno != unix.EPERM {
		return fmt.Errorf("cannot make a session keyring: %w", errno)
	}
	return nil
}

// becomeRoot makes the calling thread the instance's root. It has come here as
// the host's, with all capabilities in the new user namespace kept over the
// execve as ambient ones: so the file that it was executed from needs no
// permissions for others.
func becomeRoot() error {
	for _, c := range []struct {
		what string
		trap uintptr
	}{{"groups", unix.SYS_SETGROUPS}, {"group id", unix.SYS_SETRESGID}, {"user id", unix.SYS_SETRESUID}} {
		// Raw: package syscall would do it on every thread.
		if _, _, errno := unix.RawSyscall(c.trap, 0, 0, 0); errno != 0 {
			return fmt.Errorf("cannot set the %s: %w", c.what, errno)
		}
	}
	// A change of ids clears this one (kernel/cred.c, commit_creds). The pending
	// receive sees it when the supervisor died just before.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("cannot tie the process to its supervisor: %w", err)
	}
	unix.Umask(0) // modes below are meant as they are written
	return nil
}

// enterCgroups moves this thread, which alone survives the execve of init, into
// the v1 groups, and makes those the roots of what the instance sees.
func enterCgroups(n int) error {
	for fd := FirstTask; fd < FirstTask+n; fd++ {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("cannot enter a cgroup: %w", err)
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("cannot close a cgroup: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot make a cgroup namespace: %w", err)
	}
	return nil
}

// receiveRoot goes to the root filesystem that the supervisor has attached, and
// takes the mount table along into a namespace of its own.
func receiveRoot(sock int) error {
	m, fd, err := Receive(sock)
	if err != nil {
		return err
	}
	if m.Kind != KindRoot || fd < 0 {
		return fmt.Errorf("unexpected message %q", m.Kind)
	}
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("cannot enter the root filesystem: %w", err)
	}
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("cannot close the root filesystem: %w", err)
	}
	// The working directory follows into the copy (fs/namespace.c, copy_mnt_ns).
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make the mounts private: %w", err)
	}
	return Send(sock, Message{Kind: KindMoved}, -1)
}

// linux32 is PER_LINUX32 of linux/personality.h.
const linux32 = 0x0008

// execInit is the last step; it returns only on failure.
func execInit(cfg Config) error {
	if err := caps.DropBounding(); err != nil {
		return err
	}
	unix.Umask(0o022)
	if err := resetSignals(); err != nil {
		return err
	}
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("cannot mark the open files: %w", err)
	}
	if cfg.Program != "" {
		if _, err := unix.FcntlInt(SocketFD, unix.F_SETFD, 0); err != nil { // it closes it itself
			return fmt.Errorf("cannot keep a file open: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot untie the process from its supervisor: %w", err)
	}
	// Go has raised the soft limit of open files; syscall.Setrlimit, unlike
	// package unix, also keeps syscall.Exec from restoring what it was before.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	files.Cur = min(cfg.Files, files.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("cannot set the limit of open files: %w", err)
	}
	if cfg.Linux32 {
		if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, linux32, 0, 0); errno != 0 {
			return fmt.Errorf("cannot set the personality: %w", errno)
		}
	}
	if err := cfg.Filter.Install(); err != nil { // last: it may refuse any of the above
		return err
	}
	program := cfg.Program
	if program == "" {
		program = cfg.Init[0]
	}
	return refused(program, syscall.Exec(program, cfg.Init, cfg.Env))
}
