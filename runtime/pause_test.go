package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPause: a paused instance does nothing, takes no command, and is stopped
// either way.
func TestPause(t *testing.T) {
	root := busyboxRoot(t)
	for _, force := range []bool{false, true} {
		s := testSpec(t, root)
		inst := start(t, s)
		count := filepath.Join(root, "count")
		run(t, inst, "", "sh", "-c", "(while :; do echo >>/count; sleep 0.01; done) >/dev/null 2>&1 </dev/null &")
		size := func() int64 {
			st, err := os.Stat(count)
			if err != nil {
				return 0
			}
			return st.Size()
		}
		eventually(t, "the counter", 5*time.Second, func() bool { return size() > 0 })
		if err := inst.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		was := size()
		time.Sleep(60 * time.Millisecond)
		if size() != was {
			t.Error("it goes on")
		}
		if paused, err := inst.Paused(); !paused || err != nil {
			t.Errorf("paused: %v, %v", paused, err)
		}
		if code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true"}}); code != -1 || !errors.Is(err, ErrPaused) {
			t.Errorf("exec: %d, %v", code, err)
		}
		if !force {
			if err := inst.Resume(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the counter again", 5*time.Second, func() bool { return size() > was })
			if paused, err := inst.Paused(); paused || err != nil {
				t.Errorf("resumed: %v, %v", paused, err)
			}
			if err := inst.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := inst.Stop(t.Context(), StopOptions{Force: force, Timeout: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		checkGone(t, s)
		_ = os.Remove(count)
	}
}

// TestFrozenByItself stops an instance that has frozen its own processes.
func TestFrozenByItself(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	out, _ := run(t, inst, "", "sh", "-c", `
		for d in /sys/fs/cgroup/freezer /sys/fs/cgroup /sys/fs/cgroup/unified; do
			mkdir $d/ice 2>/dev/null || continue
			sleep 1000 >/dev/null 2>&1 </dev/null &
			echo $! > $d/ice/cgroup.procs
			if [ -e $d/ice/freezer.state ]; then echo FROZEN > $d/ice/freezer.state; else echo 1 > $d/ice/cgroup.freeze; fi && echo frozen
		done 2>/dev/null`)
	if !strings.Contains(out, "frozen") {
		t.Fatalf("nothing could be frozen: %s", out)
	}
	if paused, err := inst.Paused(); paused || err != nil {
		t.Errorf("paused: %v, %v", paused, err)
	}
	if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}
