package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// TestLimits is of what an instance may use: a bomb of forks and a filler of memory are held, and told of; limits change
// while it runs; what list and top show of it.
func TestLimits(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("launch", "m:busybox", "c1", "-c", "limits.processes=40", "-c", "limits.memory=48MiB", "-c", "limits.cpu=1", "-c", "limits.kernel.nofile=200:300")
	h.matches(`^1\n200\n$`, "exec", "c1", "--", "sh", "-c", "nproc; ulimit -n")
	h.run("exec", "c1", "--", "sh", "-c", "while :; do sleep 1 & done")
	h.eventually(`^ok\n$`, "exec", "c1", "--", "sh", "-c", "sleep 0 | echo ok | cat") // once the bomb's have ended
	h.run("exec", "c1", "--", "sh", "-c", "head -c 100000000 /dev/zero | tail -c 90000000")
	h.matches(`(?s)PID: \d+\n.*Processes: \d+\n.*root: [0-9.]+MiB.*Memory \(limit\): 48\.00MiB.*Killed for want of memory: [1-9].*eth0:`, "info", "c1")
	h.matches(`"memory":\{"usage":\d+,"usage_peak":\d+,"total":50331648,.*"oom_kills":[1-9]`, "info", "c1", "--format", "json")
	h.ok("config", "set", "c1", "limits.cpu=", "limits.processes=30", "limits.memory=64MiB", "environment.WHO=me")
	h.matches(`^me\n$`, "exec", "c1", "--", "sh", "-c", "echo $WHO")
	h.matches(`^c1,RUNNING,default,none,[0-9.]+%,[0-9.]+MiB,\d{4}/.*\n$`, "list", "-c", "nseLMDU", "-f", "csv")
	h.fails(1, `limits.memory=much`, "config", "set", "c1", "limits.memory=much")
	h.fails(1, `hugetlb`, "config", "set", "c1", "limits.hugepages.64KB=1MiB")
	h.ok("config", "device", "override", "c1", "root", "limits.max=100MB")
	h.matches(`^c1,RUNNING,[0-9.]+%\n$`, "top", "--once", "--columns", "nsc", "-f", "csv")

	h.ok("pause", "c1")
	h.matches(`^c1,FROZEN\n$`, "list", "status=frozen", "-c", "ns", "-f", "csv")
	h.fails(1, `paused\n.*poolctl resume c1`, "exec", "c1", "--", "true")
	h.ok("snapshot", "create", "c1", "s0")
	h.ok("resume", "--all")
	h.ok("exec", "c1", "--", "touch", "/root/old")
	h.fails(1, `running`, "rebuild", "m:busybox", "c1")
	h.ok("rebuild", "--force", "m:busybox", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "! [ -e /root/old ]")
	h.matches(`^c1,RUNNING,1\n$`, "list", "-c", "nsS", "-f", "csv")
	h.ok("pause", "--all")
	h.ok("restart", "--force", "--all")
	h.ok("stop", "--force", "--all")
	h.ok("start", "--all")
	h.ok("shell", "c1")
	h.topOnTerminal()
	h.execInBulk()
}

// execInBulk sends 64 MiB through a command, runs 100 at once, and looks how long one takes.
func (h *host) execInBulk() {
	h.t.Helper()
	data := make([]byte, 64<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	sum := sha256.Sum256(data)
	for _, command := range []string{"sha256sum", "cat | sha256sum"} {
		cmd := h.command(h.t.Context(), "exec", "c1", "--", "sh", "-c", command)
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), hex.EncodeToString(sum[:])) {
			h.t.Errorf("%s: %s, %v", command, out, err)
		}
	}
	// Limits hold for commands, too: only so many at a time fit.
	h.ok("config", "set", "c1", "limits.processes=500")
	var wg sync.WaitGroup
	wrong := make([]string, 100)
	for i := range wrong {
		wg.Go(func() {
			err := h.command(h.t.Context(), "exec", "c1", "--", "sh", "-c", fmt.Sprintf("exit %d", i)).Run()
			code := 0
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				code = e.ExitCode()
			}
			if code != i {
				wrong[i] = fmt.Sprintf("exit %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if all := strings.TrimSpace(strings.Join(wrong, "\n")); all != "" {
		h.t.Errorf("of 100 at once:\n%s", all)
	}
	// The goal is 15 ms; on a machine that does other things as well, the fastest of some says most.
	fastest := time.Hour
	for range 20 {
		began := time.Now()
		h.ok("exec", "c1", "--", "true")
		fastest = min(fastest, time.Since(began))
	}
	if fastest > 60*time.Millisecond {
		h.t.Errorf("true took %s at the least", fastest)
	}
}

// topOnTerminal runs top on a terminal, and leaves it by q and by a signal: the terminal is as before.
func (h *host) topOnTerminal() {
	h.t.Helper()
	for _, end := range []string{"q", "\x03", "TERM"} {
		master, slave := openTerminal(h.t)
		before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil {
			h.t.Fatal(err)
		}
		cmd := h.command(h.t.Context(), "top")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			h.t.Fatal(err)
		}
		screen := &terminalText{}
		go screen.follow(master)
		h.shows(screen, "sorted by cpu")
		_, _ = master.WriteString("m")
		h.shows(screen, "sorted by memory")
		if end == "TERM" {
			_ = cmd.Process.Signal(unix.SIGTERM)
		} else {
			_, _ = master.WriteString(end)
		}
		if err := cmd.Wait(); err != nil {
			h.t.Errorf("top ended by %q: %v", end, err)
		}
		h.shows(screen, "\x1b[?1049l")
		after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			h.t.Errorf("the terminal is not as before after %q: %v", end, err)
		}
		_, _ = slave.Close(), master.Close()
	}
}

// terminalText is what a program has written to a terminal.
type terminalText struct {
	mu   sync.Mutex
	text []byte
}

func (s *terminalText) follow(master *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		s.mu.Lock()
		s.text = append(s.text, buf[:n]...)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shows waits for a text on a terminal.
func (h *host) shows(s *terminalText, want string) {
	h.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		text := string(s.text)
		s.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("no %q on the terminal:\n%s", want, text)
		}
	}
}

// openTerminal makes a pair of terminals (man pts) of 80 columns and 24 lines.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
