package runtime

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// screen is a terminal of the host, with a test sitting in front of it.
type screen struct {
	t             testing.TB
	keyboard, tty *os.File
	mu            sync.Mutex
	shown         bytes.Buffer
	expectedSoFar int
}

func newScreen(t testing.TB) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	s := &screen{t: t, keyboard: master, tty: os.NewFile(fd, "tty")}
	s.size(40, 100)
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.shown.Write(buf[:n])
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _, _ = s.tty.Close(), master.Close() })
	return s
}

func (s *screen) size(rows, cols uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) typeIn(keys string) {
	s.t.Helper()
	if _, err := s.keyboard.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// expect waits for text after what was expected before.
func (s *screen) expect(text string) {
	s.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		all := s.all()
		if i := strings.Index(all[s.expectedSoFar:], text); i >= 0 {
			s.expectedSoFar += i + len(text)
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%q did not appear; the screen shows\n%s", text, all)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *screen) mode() unix.Termios {
	s.t.Helper()
	m, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *m
}

// TestTerminal works in a shell as a user does.
func TestTerminal(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	s := newScreen(t)
	before := s.mode()
	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"sh"}, TTY: true, Env: map[string]string{"PS1": "% "}, Stdin: s.tty, Stdout: s.tty})
		done <- result{code, err}
	}()
	s.expect("% ")
	if m := s.mode(); m.Lflag&unix.ECHO != 0 || m.Lflag&unix.ICANON != 0 {
		t.Error("the caller's terminal is not in raw mode")
	}
	s.typeIn("stty size; tty; ls -l $(tty)\r")
	s.expect("40 100")
	s.expect("/dev/pts/")
	s.expect("root ") // the owner
	s.expect("% ")
	s.typeIn("echo be''gun; sleep 1000\r")
	s.expect("begun")
	time.Sleep(50 * time.Millisecond)
	s.typeIn("\x03") // Ctrl-C reaches the command: it has a controlling terminal
	s.expect("% ")
	s.size(25, 81)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	s.typeIn("stty size\r")
	s.expect("25 81")
	s.typeIn("echo > /dev/tty && exit 7\r")
	select {
	case r := <-done:
		if r.code != 7 || r.err != nil {
			t.Errorf("got %d, %v", r.code, r.err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("the shell does not end; the screen shows\n%s", s.all())
	}
	if s.mode() != before {
		t.Errorf("the caller's terminal was not restored: %+v, before %+v", s.mode(), before)
	}
}

// TestTerminalFailure leaves the caller's terminal as it was.
func TestTerminalFailure(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	s := newScreen(t)
	before := s.mode()
	code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"nosuchcommand"}, TTY: true, Stdin: s.tty, Stdout: s.tty})
	if code != 127 || err == nil {
		t.Errorf("got %d, %v", code, err)
	}
	if s.mode() != before {
		t.Error("the caller's terminal was not restored")
	}
}

// TestTerminalFromPipe has a terminal inside though the caller has none, and
// passes on the end of the input.
func TestTerminalFromPipe(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	out, code := runWith(t, inst, "hello\n", ExecOptions{Args: []string{"sh", "-c", "tty -s && cat && echo over"}, TTY: true})
	if code != 0 || !strings.Contains(out, "hello\r\nhello\r\nover\r\n") {
		t.Errorf("got %d, %q", code, out)
	}
}

// TestTerminalTrap replaces the multiplexer inside by something else.
func TestTerminalTrap(t *testing.T) {
	for _, trap := range []string{
		"umount -l /dev/pts; mkfifo /dev/pts/ptmx",
		"umount -l /dev/pts; ln -s /dev/ptmx /dev/pts/ptmx",
		"umount -l /dev/pts; : > /dev/pts/ptmx && mount --bind /dev/null /dev/pts/ptmx",
		"umount -l /dev/pts",
	} {
		inst := start(t, testSpec(t, busyboxRoot(t)))
		if out, code := run(t, inst, "", "sh", "-c", trap); code != 0 {
			t.Fatalf("%s: %d, %s", trap, code, out)
		}
		code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true"}, TTY: true})
		if code != -1 || err == nil || !strings.Contains(err.Error(), "/dev/pts/ptmx") {
			t.Errorf("%s: %d, %v", trap, code, err)
		}
	}
}

// TestNotATerminal: without TTY, the caller's terminal stays outside.
func TestNotATerminal(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	s := newScreen(t)
	if !term.IsTerminal(int(s.tty.Fd())) {
		t.Fatal("the test's terminal is none")
	}
	code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"sh", "-c", "tty; readlink /proc/self/fd/1"}, Stdin: s.tty, Stdout: s.tty, Stderr: s.tty})
	if code != 0 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
	s.expect("not a tty")
	s.expect("pipe:")
}
