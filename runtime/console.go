package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"poolctl/runtime/wait"
)

// ConsoleOptions are the arguments of AttachConsole.
type ConsoleOptions struct {
	// Stdin and Stdout are copied to and from the console. A Stdin that is a terminal
	// is in raw mode meanwhile, and its size is passed on.
	Stdin, Stdout *os.File
	// Escape is the character after which q leaves and it itself is sent; 0 for none.
	Escape byte
	// Force takes the console from who has it.
	Force bool
	// Log is the Spec.ConsoleLog; what it has from LogFrom on is shown first.
	// Empty for nothing.
	Log     string
	LogFrom int64
}

// ConsoleBusyError says that somebody has the console.
type ConsoleBusyError struct{ PID int }

func (e *ConsoleBusyError) Error() string {
	return fmt.Sprintf("somebody (PID %d) is attached already", e.PID)
}

var (
	// ErrConsoleLost says that the instance's console went with its supervisor.
	ErrConsoleLost = errors.New("its console was lost with its supervisor, which was killed")
	errNoAnswer    = errors.New("its supervisor does not answer")
)

// How long the supervisor may take to answer, and how quiet the console has to be
// after the end of an input that is no terminal, and for how long at most it is
// listened to after that.
const (
	consoleAnswer = 15 * time.Second
	consoleQuiet  = 300 * time.Millisecond
	consoleLast   = 3 * time.Second
)

// AttachConsole is at an instance's console until the user leaves it, ctx ends or
// the instance does. An instance that reboots keeps who is attached. When Stdin is
// no terminal, its end leaves, as soon as nothing more comes.
func AttachConsole(ctx context.Context, runDir string, o ConsoleOptions) (err error) {
	a, err := connectConsole(ctx, runDir, o.Force)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll([]*os.File{a.sock, a.stop})) }()
	a.ConsoleOptions, a.tty = o, term.IsTerminal(int(o.Stdin.Fd()))
	if a.tty {
		raw, err := term.MakeRaw(int(o.Stdin.Fd()))
		if err != nil {
			return fmt.Errorf("cannot set up the terminal: %w", err)
		}
		defer func() {
			if rerr := term.Restore(int(o.Stdin.Fd()), raw); rerr != nil {
				err = errors.Join(err, fmt.Errorf("cannot restore the terminal: %w", rerr))
			}
		}()
	}
	return a.run(ctx)
}

// attached is one who has the console.
type attached struct {
	ConsoleOptions
	runDir string
	sock   *os.File
	stop   *os.File // an eventfd: the end
	tty    bool
	logged int64 // size of the log when it began
	heard  atomic.Int64
}

// connectConsole gets the console.
func connectConsole(ctx context.Context, runDir string, force bool) (*attached, error) {
	inst, err := Open(runDir)
	if err != nil {
		return nil, err
	}
	lost := inst.state.NoConsole
	if err := inst.Close(); err != nil {
		return nil, err
	}
	if lost {
		return nil, ErrConsoleLost
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	a := &attached{runDir: runDir, sock: os.NewFile(uintptr(fd), "console")}
	err = onConsoleAddress(runDir, func(addr unix.Sockaddr) error { return unix.Connect(fd, addr) })
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		err = errNoAnswer
	}
	if err == nil {
		err = a.ask(ctx, force)
	}
	if err == nil {
		a.stop, err = newEvent()
	}
	if err != nil {
		return nil, errors.Join(err, a.sock.Close())
	}
	return a, nil
}

// ask waits for the console to be given.
func (a *attached) ask(ctx context.Context, force bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, consoleAnswer, errNoAnswer)
	defer cancel()
	fd := int(a.sock.Fd())
	buf := make([]byte, 16)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ready, _, err := pollOne(fd, unix.POLLIN, -1, 50)
		if err != nil {
			return err
		}
		if !ready {
			continue
		}
		n, err := readFD(fd, buf)
		switch {
		case err != nil || n == 0:
			return errNoAnswer
		case buf[0] == wait.Yours && n == 9:
			a.logged = int64(binary.LittleEndian.Uint64(buf[1:])) //nolint:gosec // a size
			return nil
		case buf[0] == wait.Busy && n == 5:
			if !force {
				return &ConsoleBusyError{PID: int(binary.LittleEndian.Uint32(buf[1:]))}
			}
			if err := a.send(wait.Force, nil); err != nil {
				return err
			}
		}
	}
}

// send sends one packet; false when the other end is gone is no error.
func (a *attached) send(what byte, data []byte) error {
	err := unix.Sendmsg(int(a.sock.Fd()), append([]byte{what}, data...), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return nil // who reads sees it
	}
	return err
}

// errLeft says that the user has left.
var errLeft = errors.New("left")

func (a *attached) run(ctx context.Context) error {
	if err := a.showLog(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP, unix.SIGQUIT) // the others end ctx
	defer signal.Stop(signals)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	if err := a.resize(); err != nil {
		return err
	}
	in, out := make(chan error, 1), make(chan error, 1)
	a.heard.Store(time.Now().UnixNano())
	go func() { in <- a.copyInput() }()
	go func() { out <- a.copyOutput() }()
	var ended time.Time // the input
	tick := time.NewTicker(consoleQuiet / 6)
	defer tick.Stop()
	err, inDone, outDone := error(nil), false, false
	for done := false; !done; {
		select {
		case <-ctx.Done():
			err, done = ctx.Err(), true
		case sig := <-signals:
			err, done = fmt.Errorf("ended by signal %d (%s)", sig, sig), true
		case <-resized:
			_ = a.resize() // the old size stays
		case err = <-in:
			in, inDone, ended = nil, true, time.Now()
			done = a.tty || err != nil
		case err = <-out:
			outDone, done = true, true
		case <-tick.C:
			quiet := time.Since(time.Unix(0, a.heard.Load()))
			done = inDone && (quiet > consoleQuiet && time.Since(ended) > consoleQuiet || time.Since(ended) > consoleLast)
		}
	}
	if errors.Is(err, errLeft) {
		err = nil
	}
	err = errors.Join(err, signalEvent(a.stop))
	for _, c := range []struct {
		done bool
		c    chan error
	}{{inDone, in}, {outDone, out}} {
		if !c.done {
			select {
			case <-c.c: //nolint:errcheck // it was told to end; the first error counts
			case <-time.After(consoleQuiet): // it hangs in a write to a terminal that was stopped
			}
		}
	}
	return err
}

// showLog shows what there was before the console was ours.
func (a *attached) showLog() (err error) {
	if a.Log == "" {
		return nil
	}
	f, err := os.Open(a.Log)
	if err != nil {
		return fmt.Errorf("cannot read the console's log: %w", err)
	}
	defer func() { _ = f.Close() }() // read-only
	from := a.LogFrom
	if a.logged < from { // another file by now
		from = 0
	}
	if _, err := io.Copy(a.Stdout, io.NewSectionReader(f, from, a.logged-from)); err != nil {
		return fmt.Errorf("cannot show the console's log: %w", err)
	}
	return nil
}

// resize passes on the size of the terminal, if there is one.
func (a *attached) resize() error {
	for _, f := range []*os.File{a.Stdout, a.Stdin} {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err == nil {
			packet := binary.LittleEndian.AppendUint16(nil, size.Row)
			return a.send(wait.Size, binary.LittleEndian.AppendUint16(packet, size.Col))
		}
	}
	return nil
}

// copyOutput shows what the instance writes. It returns nil when the instance has
// ended or nobody reads.
func (a *attached) copyOutput() error {
	sock, stop := int(a.sock.Fd()), int(a.stop.Fd())
	buf := make([]byte, 1+wait.MaxData)
	for {
		ready, stopped, err := pollOne(sock, unix.POLLIN, stop, -1)
		if err != nil || stopped {
			return err
		}
		if !ready {
			continue
		}
		n, err := readFD(sock, buf)
		if err != nil || n == 0 {
			return a.whyGone()
		}
		a.heard.Store(time.Now().UnixNano())
		switch buf[0] {
		case wait.Data:
			if ok, err := writeFD(int(a.Stdout.Fd()), buf[1:n], stop); !ok || err != nil {
				return err
			}
		case wait.Taken:
			if n == 5 {
				return fmt.Errorf("process %d has taken the console", binary.LittleEndian.Uint32(buf[1:]))
			}
		}
	}
}

// whyGone says why the supervisor has closed the console: nil for the end of the
// instance.
func (a *attached) whyGone() error {
	inst, err := Open(a.runDir)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	return errors.Join(errors.New("its supervisor has ended"), inst.Close())
}

// maxTyped is how much may be typed that the instance does not take; the rest is
// lost, as it is on any terminal.
const maxTyped = 4 * wait.MaxData

// copyInput sends what is typed, until its end, or errLeft.
func (a *attached) copyInput() error {
	in, sock, stop := int(a.Stdin.Fd()), int(a.sock.Fd()), int(a.stop.Fd())
	buf := make([]byte, wait.MaxData)
	keys := escapeFilter{escape: a.Escape}
	var waiting []byte
	for ended := false; !ended || len(waiting) > 0; {
		fds := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: int32(sock), Events: unix.POLLOUT}, {Fd: int32(stop), Events: unix.POLLIN}}
		if ended || !a.tty && len(waiting) > 0 {
			fds[0].Fd = -1
		}
		if len(waiting) == 0 {
			fds[1].Fd = -1
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if fds[2].Revents != 0 {
			return nil
		}
		if fds[0].Revents != 0 {
			n, err := readFD(in, buf)
			switch {
			case errors.Is(err, unix.EAGAIN):
			case errors.Is(err, unix.EIO), err == nil && n == 0: // EIO: a terminal that hung up
				ended = true
			case err != nil:
				return fmt.Errorf("cannot read the input: %w", err)
			}
			typed, left := keys.filter(buf[:n])
			waiting = append(waiting, typed...)
			if a.tty {
				waiting = waiting[:min(len(waiting), maxTyped)]
			}
			if left {
				_, _ = a.sendTyped(waiting) // it leaves anyway
				return errLeft
			}
		}
		var err error
		if waiting, err = a.sendTyped(waiting); err != nil {
			return err
		}
	}
	return nil
}

// sendTyped sends as much as is taken, and returns the rest.
func (a *attached) sendTyped(data []byte) ([]byte, error) {
	for len(data) > 0 {
		n := min(len(data), wait.MaxData)
		err := a.send(wait.Data, data[:n])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return data, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return data, fmt.Errorf("cannot send the input: %w", err)
		default:
			data = data[n:]
		}
	}
	return nil, nil
}

// escapeFilter looks for the keys that are not for the instance.
type escapeFilter struct {
	escape byte
	seen   bool
}

// filter returns what is for the instance; leave is true after the escape
// character and q. The escape character twice is one, and before anything else is
// sent as it is.
func (f *escapeFilter) filter(typed []byte) (out []byte, leave bool) {
	for _, c := range typed {
		switch {
		case f.escape == 0 || c != f.escape && !f.seen:
			out = append(out, c)
		case !f.seen:
			f.seen = true
		case c == 'q':
			return out, true
		case c == f.escape:
			f.seen = false
			out = append(out, c)
		default:
			f.seen = false
			out = append(out, f.escape, c)
		}
	}
	return out, false
}
