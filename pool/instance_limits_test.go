package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/runtime"
)

// TestInstanceLimits: limits of the configuration and of disks hold from the start
// and are changed while it runs.
func TestInstanceLimits(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	config := map[string]string{"limits.processes": "40", "limits.cpu": "1", "limits.memory": "64MiB", "limits.kernel.nofile": "100:200"}
	ok(t, s.SetInstanceConfig(ctx, "c1", config), s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"limits.read": "1MB", "limits.write": "100iops"}))
	ok(t, s.Start(ctx, "c1"))
	limits := func() runtime.Limits {
		t.Helper()
		live, err := s.runningInstance("c1")
		ok(t, err)
		l, err := live.Limits()
		ok(t, err, live.Close())
		return l
	}
	s.execOK(t, "c1", `[ "$(nproc)" = 1 ] && [ "$(ulimit -Sn)" = 100 ]`)
	if l := limits(); l.Memory != 64<<20 || len(l.IO) != 1 {
		t.Errorf("%+v", l)
	}
	for dev, r := range limits().IO {
		if !strings.HasPrefix(dev, "7:") || r.ReadBytes != 1e6 || r.WriteOps != 100 {
			t.Errorf("rates %s %+v", dev, r)
		}
	}
	// Changed by a key, and by a device.
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"limits.memory": "32MiB", "limits.cpu": "", "limits.processes": ""}))
	if err := s.SetInstanceConfig(ctx, "c1", map[string]string{"limits.hugepages.64KB": "1MiB"}); err == nil {
		t.Error("pages of 64 KB were limited")
	}
	ok(t, s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"limits.read": "", "limits.write": "", "limits.max": "2MB"}))
	l := limits()
	if l.Memory != 32<<20 || l.CPUCount != 0 || l.Processes != 0 {
		t.Errorf("%+v", l)
	}
	for _, r := range l.IO {
		if r.ReadBytes != 2e6 || r.WriteBytes != 2e6 || r.WriteOps != 0 {
			t.Errorf("rates %+v", r)
		}
	}
	ok(t, s.Stop(ctx, "c1", StopOptions{Force: true}))

	// What the host has not is told at the start, and nothing runs.
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"limits.hugepages.64KB": "1MiB"}))
	err := s.Start(ctx, "c1")
	if err == nil || !strings.Contains(err.Error(), "hugetlb") || s.isRunning("c1") {
		t.Errorf("pages of 64 KB: %v", err)
	}
	if _, err := s.runningInstance("c1"); !errors.Is(err, runtime.ErrNotRunning) {
		t.Error(err)
	}
}

// TestLimitsTakenBack: a change of a profile takes effect in one running instance and cannot in the next: the first has what it
// had, in the kernel too.
func TestLimitsTakenBack(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	ok(t, s.CreateProfile(ctx, "lim", ProfilePut{Config: map[string]string{"limits.processes": "40", "environment.WHO": "before"}}))
	for _, name := range []string{"c1", "c2"} {
		busyboxInstance(t, s, "p", name)
		ok(t, s.UpdateInstance(ctx, name, func(put *InstancePut) error { put.Profiles = append(put.Profiles, "lim"); return nil }), s.Start(ctx, name))
	}
	change := map[string]string{"limits.processes": "20", "environment.WHO": "after", "limits.memory": "32MiB"}
	was := map[string]string{"limits.processes": "40", "environment.WHO": "before", "limits.memory": ""}
	kernel := func(name, processes string, memory int64) {
		t.Helper()
		s.execOK(t, name, `[ "$(cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null)" = `+processes+` ]`)
		live, err := s.runningInstance(name)
		ok(t, err)
		st, err := live.Stats()
		l, lerr := live.Limits()
		ok(t, err, lerr, live.Close())
		if st.MemoryLimit != memory || l.Memory != memory {
			t.Errorf("%s has a limit of memory of %d, and %d noted; want %d", name, st.MemoryLimit, l.Memory, memory)
		}
	}
	// It can be done.
	ok(t, s.SetProfileConfig(ctx, "lim", change))
	kernel("c1", "20", 32<<20)
	kernel("c2", "20", 32<<20)
	ok(t, s.SetProfileConfig(ctx, "lim", was))
	kernel("c1", "40", 0)

	// What is noted of the second's cannot be read: it is left as it is.
	ok(t, os.WriteFile(filepath.Join(s.instanceRunDir("c2"), "limits.json"), []byte("{"), 0o600))
	if err := s.SetProfileConfig(ctx, "lim", change); !isError(err, "instance c2: limits.memory: cannot read the instance's limits") {
		t.Errorf("%v", err)
	}
	kernel("c1", "40", 0)
	s.execOK(t, "c1", `[ "$WHO" = before ]`)
	for _, name := range []string{"c1", "c2"} {
		if c := recordOf(t, s, name).ExpandedConfig; c["limits.processes"] != "40" || c["limits.memory"] != "" || c["environment.WHO"] != "before" {
			t.Errorf("%s: %v", name, c)
		}
		ok(t, s.Stop(ctx, name, StopOptions{Force: true}))
	}
}
