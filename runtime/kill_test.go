package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// TestSupervisorKilled stops an instance whose supervisor is gone.
func TestSupervisorKilled(t *testing.T) {
	for _, clean := range []bool{true, false} {
		s := testSpec(t, busyboxRoot(t))
		inst := start(t, s)
		if err := unix.Kill(inst.state.SupervisorPID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		// It runs on, and a sweep leaves it alone.
		if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
			t.Error(err)
		}
		if out, code := run(t, inst, "", "echo", "alive"); code != 0 || out != "alive\n" {
			t.Errorf("without a supervisor: %d, %q", code, out)
		}
		if err := Start(t.Context(), s); err == nil || err.Error() != "it is running already" {
			t.Errorf("another start: %v", err)
		}
		if err := inst.Stop(t.Context(), StopOptions{Force: !clean, Timeout: 10 * time.Second}); err != nil {
			t.Error(err)
		}
		checkGone(t, s)
	}
}

// TestSweepAfterBoth cleans up when supervisor and init were killed.
func TestSweepAfterBoth(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	for _, pid := range []int{inst.state.SupervisorPID, inst.PID()} {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both have ended", 5*time.Second, func() bool {
		return ended(inst.pidfd) && errors.Is(unix.Kill(inst.state.SupervisorPID, 0), unix.ESRCH)
	})
	if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
		t.Error(err)
	}
	checkGone(t, s)
	// Once more, with nothing to do.
	begin := time.Now()
	if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
		t.Error(err)
	}
	t.Logf("an idle sweep takes %v", time.Since(begin))
}

// TestStartCancelled undoes everything when the context ends meanwhile.
func TestStartCancelled(t *testing.T) {
	root := busyboxRoot(t)
	for _, d := range []int{0, 2, 5, 8, 12, 16, 20, 25, 30} {
		s := testSpec(t, root)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(d)*time.Millisecond)
		err := Start(ctx, s)
		cancel()
		if err == nil {
			t.Logf("%d ms was enough", d)
			continue // stopped by the cleanup
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %d ms: %v", d, err)
		}
		checkGone(t, s)
	}
}

// TestStarterKilled kills the process that starts at any time, and supervisor
// or stage with it.
func TestStarterKilled(t *testing.T) {
	root := busyboxRoot(t)
	for i := range 40 {
		s := testSpec(t, root)
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), helperEnv+"="+string(data))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if i%2 == 1 {  // its supervisor too
			for pid, name := range stages(t) {
				if strings.HasPrefix(name, wait.Name) && strings.Contains(name, s.Name) {
					_ = unix.Kill(pid, unix.SIGKILL) // may have ended
				}
			}
		}
		eventually(t, "starter and supervisor are done", 5*time.Second, func() bool {
			if inst, err := Open(s.RunDir); err == nil {
				_ = inst.Close()
				return true
			}
			l, err := tryLock(s.RunDir, false)
			if err == nil {
				_ = l.release()
			}
			for _, name := range stages(t) {
				if strings.Contains(name, s.Name) {
					return false
				}
			}
			return !errors.Is(err, errLocked)
		})
		if inst, err := Open(s.RunDir); err == nil {
			if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
				t.Error(err)
			}
			_ = inst.Close()
		}
		if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
			t.Error(err)
		}
		checkGone(t, s)
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
}
