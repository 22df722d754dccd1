package runtime

import (
	"errors"
	"testing"
	"time"
)

// TestFrozenInit kills an instance that has stopped and frozen its own init, in a
// cgroup that it has made for that.
func TestFrozenInit(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	script := `kill -STOP 1
if [ -d /sys/fs/cgroup/freezer ]; then
	mkdir /sys/fs/cgroup/freezer/ice && echo 1 > /sys/fs/cgroup/freezer/ice/cgroup.procs && echo FROZEN > /sys/fs/cgroup/freezer/ice/freezer.state
else
	mkdir /sys/fs/cgroup/ice && echo 1 > /sys/fs/cgroup/ice/cgroup.procs && echo 1 > /sys/fs/cgroup/ice/cgroup.freeze
fi`
	if out, code := run(t, inst, "", "sh", "-c", script); code != 0 {
		t.Fatalf("exit status %d: %s", code, out)
	}
	if out, code := run(t, inst, "", "echo", "x"); code != 0 || out != "x\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
	if err := inst.Stop(t.Context(), StopOptions{Timeout: 200 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("a clean stop of what does not listen: %v", err)
	}
	begin := time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}
