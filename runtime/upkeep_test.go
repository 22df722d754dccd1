package runtime

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testHooks act whenever there is a file "want" in the directory that the instance is about: they take the file away, add their
// process to the file "acted", and when there is a file "hang", do not end. At the end they make a file "ended".
func testHooks() Hooks {
	return Hooks{
		Look: func(dir string, _ json.RawMessage, _ []uint64) (Look, error) {
			_, err := os.Lstat(dir + "/want")
			return Look{Due: err == nil, Conditions: []Condition{FileChanges(dir+"/want", nil)}}, nil
		},
		Act: func(_ context.Context, dir string) error {
			f, err := os.OpenFile(dir+"/acted", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				return err
			}
			if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
				return err
			}
			if err := os.Remove(dir + "/want"); err != nil {
				return err
			}
			if _, err := os.Lstat(dir + "/hang"); err == nil {
				time.Sleep(time.Minute)
			}
			return f.Close()
		},
		Ended: func(_ context.Context, dir string, how EndKind) error {
			return os.WriteFile(dir+"/ended", []byte(strconv.Itoa(int(how))), 0o600)
		},
	}
}

// acted asks for another act and returns its process.
func acted(t *testing.T, dir string) int {
	t.Helper()
	before, _ := os.ReadFile(filepath.Join(dir, "acted"))
	write(t, filepath.Join(dir, "want"), "", 0o600)
	pid := 0
	eventually(t, "it was acted", 20*time.Second, func() bool {
		now, _ := os.ReadFile(filepath.Join(dir, "acted"))
		lines := strings.Fields(string(now[len(before):]))
		if len(lines) == 0 {
			return false
		}
		var err error
		pid, err = strconv.Atoi(lines[0])
		return err == nil
	})
	return pid
}

// An upkeep goes on over a reboot, and ends with the instance and with its supervisor, also one that hangs.
func TestUpkeep(t *testing.T) {
	for _, killed := range []bool{false, true} {
		s := testSpec(t, busyboxRoot(t))
		s.About = t.TempDir()
		inst := start(t, s)
		acted(t, s.About)
		if !killed {
			_, _ = run(t, inst, "", "reboot", "-f")
			eventually(t, "it has rebooted", 20*time.Second, func() bool { return ended(inst.pidfd) })
			eventually(t, "it runs again", 20*time.Second, func() bool {
				again, err := Open(s.RunDir)
				if err == nil {
					inst = again
				}
				return err == nil
			})
		}
		write(t, filepath.Join(s.About, "hang"), "", 0o600)
		pid := acted(t, s.About)
		if killed {
			if err := unix.Kill(inst.state.SupervisorPID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the upkeep has ended with the supervisor", 5*time.Second, func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
		}
		if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
			t.Error(err)
		}
		if err := unix.Kill(pid, 0); err != unix.ESRCH {
			t.Errorf("the upkeep goes on without the instance: %v", err)
		}
		checkGone(t, s)
	}
}
