package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shellRoot is an image with a shell on its console.
func shellRoot(t testing.TB) string {
	root := busyboxRoot(t)
	write(t, filepath.Join(root, "etc/inittab"), "::sysinit:/bin/echo hello from init\n::respawn:-/bin/sh\n", 0o644)
	return root
}

// taker is somebody at a console.
type taker struct {
	t        testing.TB
	keyboard *os.File // what he types on
	screen   *os.File // read from
	terminal *os.File // his terminal, if it is one
	mu       sync.Mutex
	seen     bytes.Buffer
	done     chan error
	cancel   context.CancelFunc
}

// take attaches to the console of an instance, on a terminal or by pipes.
func take(t testing.TB, runDir string, tty bool, o ConsoleOptions) *taker {
	t.Helper()
	k := &taker{t: t, done: make(chan error, 1)}
	if tty {
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
			t.Fatal(err)
		}
		fd, err := openSlave(int(master.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		k.keyboard, k.screen, k.terminal = master, master, os.NewFile(uintptr(fd), "terminal")
		o.Stdin, o.Stdout = k.terminal, k.terminal
	} else {
		var err error
		if o.Stdin, k.keyboard, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		if k.screen, o.Stdout, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	if o.Escape == 0 {
		o.Escape = 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go func() { k.done <- AttachConsole(ctx, runDir, o) }()
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := k.screen.Read(buf)
			k.mu.Lock()
			k.seen.Write(buf[:n])
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = k.keyboard.Close()
		_ = o.Stdout.Close()
		_ = k.screen.Close()
	})
	return k
}

func (k *taker) types(text string) {
	k.t.Helper()
	if _, err := io.WriteString(k.keyboard, text); err != nil {
		k.t.Fatal(err)
	}
}

func (k *taker) sees(text string) {
	k.t.Helper()
	end := time.Now().Add(patient(15 * time.Second))
	for {
		k.mu.Lock()
		seen := k.seen.String()
		k.mu.Unlock()
		if strings.Contains(seen, text) {
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("%q does not appear: %q", text, seen)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ends waits until he is not attached any more.
func (k *taker) ends() error {
	k.t.Helper()
	select {
	case err := <-k.done:
		return err
	case <-time.After(patient(15 * time.Second)):
		k.t.Fatal("it does not end")
	}
	return nil
}

// prompts types Enter until there is a prompt.
func (k *taker) prompts() {
	k.t.Helper()
	time.Sleep(50 * time.Millisecond)
	k.types("\r")
	k.sees("# ")
}

// modes are the settings of a terminal.
func modes(t testing.TB, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// A console on a terminal: keys, escape, size, and the terminal as it was before.
func TestConsole(t *testing.T) {
	s := testSpec(t, shellRoot(t))
	inst := start(t, s)
	k := take(t, s.RunDir, true, ConsoleOptions{})
	before := modes(t, k.terminal)
	k.prompts()
	k.types("echo $((40+2))x\r")
	k.sees("42x")
	if err := unix.IoctlSetWinsize(int(k.keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // it is not the terminal of this process
		t.Fatal(err)
	}
	eventually(t, "the console has the size of the terminal", 5*time.Second, func() bool {
		out, _ := run(t, inst, "", "sh", "-c", "stty size < /dev/console")
		return out == "33 77\n"
	})
	// One Ctrl-a for two, one before anything else, and the q of Ctrl-a q not sent.
	k.types("\x01\x01\x01z; echo a''b | cat -v\r")
	k.sees("ab")
	k.types("\x01q")
	if err := k.ends(); err != nil {
		t.Error(err)
	}
	if after := modes(t, k.terminal); after != before {
		t.Errorf("the terminal was not restored: %+v", after)
	}
	// The next one, by pipes: the end of the input leaves, when all has come.
	k = take(t, s.RunDir, false, ConsoleOptions{})
	k.types("echo from a pi''pe\r")
	_ = k.keyboard.Close()
	if err := k.ends(); err != nil {
		t.Error(err)
	}
	k.sees("from a pipe")
	log, err := os.ReadFile(s.ConsoleLog)
	if err != nil || !strings.Contains(string(log), "from a pipe") || !strings.Contains(string(log), "hello from init") {
		t.Errorf("the log: %q, %v", log, err)
	}
}

// The second one is refused, unless he insists.
func TestConsoleTaken(t *testing.T) {
	s := testSpec(t, shellRoot(t))
	start(t, s)
	first := take(t, s.RunDir, true, ConsoleOptions{})
	before := modes(t, first.terminal)
	first.prompts()
	var busy *ConsoleBusyError
	second := take(t, s.RunDir, true, ConsoleOptions{})
	if err := second.ends(); !errors.As(err, &busy) || busy.PID != os.Getpid() {
		t.Errorf("the second: %v", err)
	}
	first.types("echo sti''ll here\r")
	first.sees("still here")
	third := take(t, s.RunDir, true, ConsoleOptions{Force: true})
	if err := first.ends(); err == nil || err.Error() != "process "+itoa(os.Getpid())+" has taken the console" {
		t.Errorf("the first ended with %v", err)
	}
	if after := modes(t, first.terminal); after != before {
		t.Errorf("the terminal was not restored: %+v", after)
	}
	third.prompts()
	third.cancel()
	if err := third.ends(); !errors.Is(err, context.Canceled) {
		t.Errorf("the third ended with %v", err)
	}
	if after := modes(t, third.terminal); after.Lflag&unix.ICANON == 0 {
		t.Error("the terminal was not restored")
	}
}

// Who does not read, or is stopped, does not stop the instance, nor does one who writes garbage.
func TestConsoleNobodyReads(t *testing.T) {
	s := testSpec(t, shellRoot(t))
	inst := start(t, s)
	a, err := connectConsole(t.Context(), s.RunDir, false) // reads nothing
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if out, code := run(t, inst, "", "sh", "-c", "dd if=/dev/urandom of=/dev/console bs=64k count=64 2>&1"); code != 0 {
		t.Errorf("%d, %s", code, out)
	}
	t.Logf("4 MiB of garbage took %v", time.Since(begin))
	for _, file := range []string{s.ConsoleLog, s.ConsoleLog + ".old"} {
		st, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) && file == s.ConsoleLog { // renamed just now, and nothing was written since
			continue
		}
		if err != nil || st.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", file, st, err)
		}
	}
	if err := errors.Join(a.sock.Close(), a.stop.Close()); err != nil {
		t.Fatal(err)
	}
	// Who types what nobody takes can leave, and the next one is served.
	run(t, inst, "", "sh", "-c", "stty raw -echo < /dev/console; kill -STOP $(pidof sh | tr ' ' '\\n' | grep -v $$)")
	k := take(t, s.RunDir, true, ConsoleOptions{})
	for range 64 {
		k.types(strings.Repeat("x", 1024))
		time.Sleep(time.Millisecond)
	}
	k.types("\x01q")
	if err := k.ends(); err != nil {
		t.Error(err)
	}
	if k, err := connectConsole(t.Context(), s.RunDir, false); err != nil {
		t.Error(err)
	} else if err := errors.Join(k.sock.Close(), k.stop.Close()); err != nil {
		t.Error(err)
	}
}

// Who is attached stays so over a reboot, and is let go at the end; what was written before he came he can have.
func TestConsoleOverReboot(t *testing.T) {
	s := testSpec(t, shellRoot(t))
	inst := start(t, s)
	k := take(t, s.RunDir, true, ConsoleOptions{Log: s.ConsoleLog})
	k.sees("hello from init")
	k.prompts()
	k.types("echo be''fore; reboot -f\r")
	k.sees("before")
	eventually(t, "it has rebooted", 20*time.Second, func() bool {
		again, err := Open(s.RunDir)
		if err != nil {
			return false
		}
		if again.PID() == inst.PID() {
			_ = again.Close()
			return false
		}
		inst = again
		return true
	})
	k.types("\recho af''ter\r")
	k.sees("after")
	k.types("poweroff -f\r")
	if err := k.ends(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	_ = inst.Close()
}

// A run directory whose path is longer than the address of a socket.
func TestConsoleLongPath(t *testing.T) {
	s := testSpec(t, shellRoot(t))
	s.RunDir = filepath.Join(t.TempDir(), strings.Repeat("long", 30), s.Name)
	if err := os.MkdirAll(filepath.Dir(s.RunDir), 0o700); err != nil {
		t.Fatal(err)
	}
	inst := start(t, s)
	if st, err := os.Lstat(filepath.Join(s.RunDir, "console")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	k := take(t, s.RunDir, false, ConsoleOptions{})
	k.types("echo f''ar\r")
	k.sees("far")
	if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := k.ends(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if err := AttachConsole(t.Context(), s.RunDir, ConsoleOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("of a stopped one: %v", err)
	}
}

func TestEscapeFilter(t *testing.T) {
	for _, tc := range []struct {
		escape byte
		typed  []string
		want   string
		leave  bool
	}{
		{1, []string{"abc"}, "abc", false},
		{1, []string{"a\x01q"}, "a", true},
		{1, []string{"a\x01", "qz"}, "a", true},
		{1, []string{"\x01\x01"}, "\x01", false},
		{1, []string{"\x01\x01q"}, "\x01q", false},
		{1, []string{"\x01\x01\x01q"}, "\x01", true},
		{1, []string{"\x01x", "q"}, "\x01xq", false},
		{2, []string{"\x01q\x02\x02\x02q"}, "\x01q\x02", true},
		{0, []string{"\x01q\x01\x01"}, "\x01q\x01\x01", false},
	} {
		f := escapeFilter{escape: tc.escape}
		got, leave := "", false
		for _, typed := range tc.typed {
			out, left := f.filter([]byte(typed))
			got, leave = got+string(out), leave || left
		}
		if got != tc.want || leave != tc.leave {
			t.Errorf("%q: %q, %v", tc.typed, got, leave)
		}
	}
}
