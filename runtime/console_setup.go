package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// console is the supervisor's side of an instance's console, as descriptors that
// are handed to package wait; -1 where there is none.
type console struct {
	master, slave int
	log           int
	listener      int
	// client is who has the console.
	client int
}

func noConsole() console { return console{-1, -1, -1, -1, -1} }

// openLog opens the file that keeps what the instance writes.
func (c *console) openLog(path string) error {
	f, err := openLog(path)
	if err == nil {
		closeFDs(&c.log)
		c.log, err = unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		_ = f.Close() // nothing was written
	}
	if err != nil {
		return fmt.Errorf("cannot open the console's log: %w", err)
	}
	return nil
}

// listen makes the socket for who wants the console. A path may be longer than an
// address has room for, so it is bound by way of its directory.
func (c *console) listen(runDir string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		// Before it is bound: it is what the file gets (net/unix/af_unix.c).
		if err = unix.Fchmod(fd, 0o600); err == nil {
			err = onConsoleAddress(runDir, func(a unix.Sockaddr) error { return unix.Bind(fd, a) })
		}
		if err == nil {
			err = unix.Listen(fd, 16)
		}
		if err != nil {
			_ = unix.Close(fd) // the first error counts
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make the console's socket: %w", err)
	}
	c.listener = fd
	return nil
}

// onConsoleAddress calls f with the address of a run directory's console.
func onConsoleAddress(runDir string, f func(unix.Sockaddr) error) error {
	dir, err := os.Open(runDir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only looked up in
	return f(&unix.SockaddrUnix{Name: filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), wait.ConsoleSocket)})
}

// is takes the master of the console of a new boot. Who has the console keeps it,
// and its size.
func (c *console) is(master int) error {
	slave, err := openSlave(master)
	if err == nil {
		err = unix.SetNonblock(master, true)
	}
	if err != nil {
		_ = unix.Close(master) // the first error counts
		return fmt.Errorf("cannot set up the console: %w", err)
	}
	if c.master >= 0 {
		if size, err := unix.IoctlGetWinsize(c.master, unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, size) // the default stays
		}
	}
	closeFDs(&c.master, &c.slave)
	c.master, c.slave = master, slave
	return nil
}

// openSlave opens the other end (man ioctl_tty, TIOCGPTPEER).
func openSlave(master int) (int, error) {
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// close ends it; who has the console sees that.
func (c *console) close() { closeFDs(&c.master, &c.slave, &c.log, &c.listener, &c.client) }

func closeFDs(fds ...*int) {
	for _, fd := range fds {
		if *fd >= 0 {
			_ = unix.Close(*fd) // nothing is lost
			*fd = -1
		}
	}
}
