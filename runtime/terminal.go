package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is the session of a command on a terminal of the instance's own.
type terminal struct {
	master, slave *os.File
	masterFD      int
	in, out       *os.File // the caller's; may be nil
	null          *os.File // out, when the caller has none
	stop          *os.File
	raw           *term.State // of in, before it was made raw
	resized       chan os.Signal
	wg            sync.WaitGroup
	mu            sync.Mutex
	copyErr       error
}

// openTerminal makes a terminal in the instance's devpts, owned by the command's
// user, with the size of the caller's.
func (i *Instance) openTerminal(o ExecOptions, uid int) (_ session, err error) {
	t := &terminal{in: o.Stdin, out: o.Stdout}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.abort())
		}
	}()
	if t.stop, err = newEvent(); err != nil {
		return nil, err
	}
	if t.out == nil { // read all the same: the command would stand still
		if t.null, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		t.out = t.null
	}
	if t.master, err = i.openPTMX(); err != nil {
		return nil, fmt.Errorf("cannot make a terminal: %w", err)
	}
	t.masterFD = int(t.master.Fd())
	if err := unix.IoctlSetPointerInt(t.masterFD, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("cannot unlock the terminal: %w", err)
	}
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.masterFD), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return nil, fmt.Errorf("cannot open the terminal's other end: %w", errno)
	}
	if t.slave, err = above2(os.NewFile(fd, "terminal")); err != nil {
		return nil, err
	}
	// The group is the one that devpts was mounted with.
	if err := t.slave.Chown(uid, -1); err != nil {
		return nil, fmt.Errorf("cannot give away the terminal: %w", err)
	}
	return t, t.resize()
}

// openPTMX opens the multiplexer of the instance's devpts. The path is the
// instance's, so what is found there is checked before it is opened for real:
// to open any other device, or a FIFO, could have effects, or never return.
func (i *Instance) openPTMX() (*os.File, error) {
	root, err := unix.Open(i.proc("root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the instance's root: %w", err)
	}
	defer func() { _ = unix.Close(root) }() // a path only
	if ended(i.pidfd) {                     // the number may have been another's
		return nil, ErrNotRunning
	}
	fd, err := unix.Openat2(root, "dev/pts/ptmx", &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/pts/ptmx in the instance: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // a path only
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		return nil, fmt.Errorf("cannot check /dev/pts/ptmx in the instance: %w", err)
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) {
		return nil, errors.New("/dev/pts/ptmx in the instance is not a terminal multiplexer")
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR|unix.O_NOCTTY, 0)
}

// files are the slave three times.
func (t *terminal) files() [3]*os.File { return [3]*os.File{t.slave, t.slave, t.slave} }

func (t *terminal) start() (err error) {
	if t.in != nil && term.IsTerminal(int(t.in.Fd())) {
		if t.raw, err = term.MakeRaw(int(t.in.Fd())); err != nil {
			return fmt.Errorf("cannot set up the terminal: %w", err)
		}
	}
	t.resized = make(chan os.Signal, 1)
	signal.Notify(t.resized, unix.SIGWINCH)
	t.wg.Go(func() {
		for range t.resized {
			_ = t.resize() // the old size stays
		}
	})
	err = errors.Join(t.resize(), unix.SetNonblock(t.masterFD, true))
	stop := int(t.stop.Fd())
	if t.in != nil {
		in := int(t.in.Fd())
		t.run(func() error { return copyIn(t.masterFD, in, stop, true) })
	}
	outFD := int(t.out.Fd())
	t.run(func() error { return copyOut(outFD, t.masterFD, stop) })
	return errors.Join(err, t.slave.Close())
}

func (t *terminal) run(c func() error) {
	t.wg.Go(func() {
		err := c()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.copyErr = errors.Join(t.copyErr, err)
	})
}

// resize gives the terminal the size of the caller's.
func (t *terminal) resize() error {
	for _, f := range []*os.File{t.out, t.in} {
		if f == nil {
			continue
		}
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			continue // not a terminal
		}
		if err := unix.IoctlSetWinsize(t.masterFD, unix.TIOCSWINSZ, size); err != nil {
			return fmt.Errorf("cannot set the terminal's size: %w", err)
		}
		return nil
	}
	return nil
}

func (t *terminal) finish() error {
	err := signalEvent(t.stop)
	if t.resized != nil {
		signal.Stop(t.resized)
		close(t.resized)
	}
	t.wg.Wait()
	if t.raw != nil {
		if rerr := term.Restore(int(t.in.Fd()), t.raw); rerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot restore the terminal: %w", rerr))
		}
	}
	return errors.Join(err, t.copyErr, closeAll([]*os.File{t.master, t.stop, t.null}))
}

func (t *terminal) abort() error {
	return closeAll([]*os.File{t.master, t.slave, t.stop, t.null})
}
