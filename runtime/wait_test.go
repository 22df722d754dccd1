package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pssOf is the memory of a process in bytes, its share of what it has in common with others included.
func pssOf(t testing.TB, pid int) int64 {
	t.Helper()
	return memoryOf(t, pid, "Pss:")
}

// memoryOf is a line of /proc/PID/smaps_rollup (man proc_pid_smaps_rollup), in bytes.
func memoryOf(t testing.TB, pid int, name string) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/" + itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no " + name + " in smaps_rollup")
	return 0
}

// footprint is what a supervisor has.
type footprint struct {
	pss          int64
	fds, threads int
}

func footprintOf(t testing.TB, pid int) footprint {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir("/proc/" + itoa(pid) + "/" + dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	return footprint{pssOf(t, pid), count("fd"), count("task")}
}

func (f footprint) String() string {
	return fmt.Sprintf("%d KiB, %d descriptors, %d threads", f.pss>>10, f.fds, f.threads)
}

// slim waits until a supervisor waits and needs less than that, and says what it has.
func slim(t testing.TB, runDir string, limit int64) footprint {
	t.Helper()
	var f footprint
	eventually(t, "the supervisor needs less than "+itoa(int(limit>>10))+" KiB", 10*time.Second, func() bool {
		inst, err := Open(runDir)
		if err != nil {
			return false
		}
		pid := inst.state.SupervisorPID
		_ = inst.Close()
		if !waits(pid) {
			return false
		}
		time.Sleep(time.Second) // it gives back what it does not need
		f = footprintOf(t, pid)
		return f.pss < limit
	})
	return f
}

// waits says whether a supervisor is at that.
func waits(pid int) bool {
	args, _ := os.ReadFile("/proc/" + itoa(pid) + "/cmdline")
	return strings.Contains(string(args), "\x00waits\x00")
}

// The supervisor of a running instance is small, and does not grow.
func TestSupervisorSize(t *testing.T) {
	const limit = 4 << 20
	s := testSpec(t, busyboxRoot(t))
	s.About = t.TempDir()
	inst := start(t, s)
	// It gives back what its start took at once, and not when it has been idle for half a second.
	eventually(t, "it waits", 10*time.Second, func() bool { return waits(inst.state.SupervisorPID) })
	mapped := int64(0) // others have the same program, so its share would be small
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if mapped = memoryOf(t, inst.state.SupervisorPID, "Rss:"); mapped < 3<<20 {
			break
		}
	}
	if mapped >= 3<<20 {
		t.Errorf("at first it has %d KiB", mapped>>10)
	}
	t.Logf("at first: %s", slim(t, s.RunDir, limit))
	use := func() footprint {
		for range 50 {
			if _, code := run(t, inst, "", "true"); code != 0 {
				t.Fatalf("true: %d", code)
			}
			a, err := connectConsole(t.Context(), s.RunDir, false)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(a.send('d', []byte("\r")), a.sock.Close(), a.stop.Close()); err != nil {
				t.Error(err)
			}
		}
		acted(t, s.About)
		return slim(t, s.RunDir, limit)
	}
	first := use()
	for what, f := range map[string]func() footprint{"50 commands, 50 times the console, and an upkeep": use, "reboots": func() footprint {
		for range 3 {
			run(t, inst, "", "reboot", "-f")
			old := inst.PID()
			eventually(t, "it has rebooted", 20*time.Second, func() bool {
				again, err := Open(s.RunDir)
				if err != nil {
					return false
				}
				_ = inst.Close()
				inst = again
				return inst.PID() != old
			})
		}
		return slim(t, s.RunDir, limit)
	}} {
		after := f()
		t.Logf("after %s: %s", what, after)
		if after.fds > first.fds || after.threads > first.threads+1 || after.pss > first.pss+256<<10 {
			t.Errorf("it has grown from %s to %s by %s", first, after, what)
		}
	}
}

// A host that shuts down sends SIGTERM to all: the instance is asked to stop, and a reboot then is its end. Other signals that
// come with a terminal or session that ends do nothing.
func TestSupervisorSignals(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	eventually(t, "the supervisor waits", 5*time.Second, func() bool { return waits(inst.state.SupervisorPID) })
	time.Sleep(100 * time.Millisecond)
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE} {
		if err := unix.Kill(inst.state.SupervisorPID, sig); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if out, code := run(t, inst, "", "echo", "alive"); code != 0 || out != "alive\n" {
		t.Errorf("after signals: %d, %q", code, out)
	}
	if err := unix.Kill(inst.state.SupervisorPID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance has ended", 15*time.Second, func() bool { return ended(inst.pidfd) })
	checkGone(t, s)
}
