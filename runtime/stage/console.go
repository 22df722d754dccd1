package stage

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openConsole makes a terminal in the instance's own devpts: its slave becomes
// the instance's /dev/console and the standard files of this process; its master
// goes to the supervisor. Made there, and not in the host's devpts, it has a
// name and an owner that the instance can see. It is nobody's controlling
// terminal, as after a real boot, so that a getty can take it.
func openConsole(sock int) error {
	master, slave, err := openPTY("/dev/pts/ptmx")
	if err != nil {
		return fmt.Errorf("cannot make the console: %w", err)
	}
	if err := bindFD(slave, "/dev", "console"); err != nil {
		return err
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("cannot make a session: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return fmt.Errorf("cannot set the standard files: %w", err)
		}
	}
	if err := Send(sock, Message{Kind: KindConsole}, master); err != nil {
		return err
	}
	for _, fd := range []int{master, slave} {
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("cannot close the console: %w", err)
		}
	}
	return nil
}

// openPTY opens a new terminal of the devpts instance that ptmx belongs to
// (man ioctl_tty, TIOCGPTPEER).
func openPTY(ptmx string) (master, slave int, err error) {
	master, err = unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("cannot open %s: %w", ptmx, err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, -1, fmt.Errorf("cannot unlock the terminal: %w", err)
	}
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, -1, fmt.Errorf("cannot open the terminal's other end: %w", errno)
	}
	return master, int(fd), nil
}

// ignored is SIG_IGN.
const ignored = 1

// kernelSigaction is struct sigaction of the kernel, for amd64 and arm64.
type kernelSigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// resetSignals gives the init a clean table: what some program above poolctl
// ignores (nohup) would be ignored by everything in the instance, and so with
// what it blocks. Handlers go at execve by themselves.
func resetSignals() error {
	const sigsetSize = unsafe.Sizeof(uint64(0))
	for sig := uintptr(1); sig <= 64; sig++ {
		var act kernelSigaction
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&act)), sigsetSize, 0, 0); errno != 0 {
			return fmt.Errorf("cannot read the action of signal %d: %w", sig, errno)
		}
		if act.handler != ignored {
			continue
		}
		act = kernelSigaction{}
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&act)), 0, sigsetSize, 0, 0); errno != 0 {
			return fmt.Errorf("cannot reset signal %d: %w", sig, errno)
		}
	}
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("cannot unblock signals: %w", err)
	}
	return nil
}
