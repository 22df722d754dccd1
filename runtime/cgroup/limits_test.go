package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines writes the settings of limits as version 1 or 2 gets them.
func lines(list []setting, v1 bool) string {
	var b strings.Builder
	for _, s := range list {
		ws := s.v2
		if v1 {
			ws = s.v1
		}
		for _, w := range ws {
			b.WriteString(w.files[0] + "=" + w.value + "\n")
		}
	}
	return b.String()
}

func TestLimitSettings(t *testing.T) {
	num := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		name     string
		from, to Limits
		v1, v2   string
	}{
		{"nothing", Limits{}, Limits{}, "", ""},
		{"processors", Limits{}, Limits{CPUs: "0-1"}, "cpuset.cpus=0-1\n", "cpuset.cpus=0-1\n"},
		{"all processors again", Limits{CPUs: "0"}, Limits{}, "cpuset.cpus=\n", "cpuset.cpus=\n"},
		{"half a share", Limits{}, Limits{CPUShares: 512}, "cpu.shares=512\n", "cpu.weight=50\n"},
		{"the least share", Limits{}, Limits{CPUShares: 2}, "cpu.shares=2\n", "cpu.weight=1\n"},
		{
			"quota",
			Limits{},
			Limits{CPUQuota: 25 * time.Millisecond, CPUPeriod: 100 * time.Millisecond},
			"cpu.cfs_quota_us=-1\ncpu.cfs_period_us=100000\ncpu.cfs_quota_us=25000\n", "cpu.max=25000 100000\n",
		},
		{
			"no quota again",
			Limits{CPUQuota: 25 * time.Millisecond, CPUPeriod: 50 * time.Millisecond},
			Limits{},
			"cpu.cfs_quota_us=-1\ncpu.cfs_period_us=100000\n", "cpu.max=max 100000\n",
		},
		{
			"memory and no swap",
			Limits{},
			Limits{Memory: 1 << 20, Swap: num(0)},
			"memory.memsw.limit_in_bytes=-1\nmemory.limit_in_bytes=1048576\nmemory.memsw.limit_in_bytes=1048576\n", "memory.max=1048576\nmemory.swap.max=0\n",
		},
		{
			"swap only",
			Limits{},
			Limits{Swap: num(4096)},
			"memory.memsw.limit_in_bytes=-1\nmemory.limit_in_bytes=-1\nmemory.memsw.limit_in_bytes=-1\n", "memory.max=max\nmemory.swap.max=4096\n",
		},
		{"soft", Limits{}, Limits{MemorySoft: 4096}, "memory.soft_limit_in_bytes=4096\n", "memory.low=4096\n"},
		{"no soft again", Limits{MemorySoft: 4096}, Limits{}, "memory.soft_limit_in_bytes=-1\n", "memory.low=0\n"},
		{"swappiness", Limits{}, Limits{Swappiness: num(0)}, "memory.swappiness=0\n", ""},
		{"processes", Limits{}, Limits{Processes: 5}, "pids.max=5\n", "pids.max=5\n"},
		{"processes without end again", Limits{Processes: 5}, Limits{}, "pids.max=max\n", "pids.max=max\n"},
		{"weight", Limits{}, Limits{IOWeight: 2}, "blkio.bfq.weight=2\n", "io.bfq.weight=2\n"},
		{
			"rates",
			Limits{},
			Limits{IO: map[string]IORate{"7:1": {ReadBytes: 10, WriteOps: 5}}},
			"blkio.throttle.read_bps_device=7:1 10\nblkio.throttle.write_bps_device=7:1 0\nblkio.throttle.read_iops_device=7:1 0\nblkio.throttle.write_iops_device=7:1 5\n",
			"io.max=7:1 rbps=10 wbps=max riops=max wiops=5\n",
		},
		{
			"another device",
			Limits{IO: map[string]IORate{"7:1": {ReadBytes: 10}}},
			Limits{IO: map[string]IORate{"7:2": {ReadBytes: 10}}},
			"blkio.throttle.read_bps_device=7:2 10\nblkio.throttle.write_bps_device=7:2 0\nblkio.throttle.read_iops_device=7:2 0\nblkio.throttle.write_iops_device=7:2 0\n" +
				"blkio.throttle.read_bps_device=7:1 0\nblkio.throttle.write_bps_device=7:1 0\nblkio.throttle.read_iops_device=7:1 0\nblkio.throttle.write_iops_device=7:1 0\n",
			"io.max=7:2 rbps=10 wbps=max riops=max wiops=max\nio.max=7:1 rbps=max wbps=max riops=max wiops=max\n",
		},
		{"huge pages", Limits{}, Limits{HugePages: map[string]int64{"2MB": 0}}, "hugetlb.2MB.limit_in_bytes=0\n", "hugetlb.2MB.max=0\n"},
		{
			"huge pages again",
			Limits{HugePages: map[string]int64{"2MB": 0}},
			Limits{},
			"hugetlb.2MB.limit_in_bytes=" + noHugeLimit + "\n", "hugetlb.2MB.max=" + noHugeLimit + "\n",
		},
	} {
		list := changes(c.from, c.to)
		if d := cmp.Diff(c.v1, lines(list, true)); d != "" {
			t.Errorf("%s, v1: %s", c.name, d)
		}
		if d := cmp.Diff(c.v2, lines(list, false)); d != "" {
			t.Errorf("%s, v2: %s", c.name, d)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "0": "0", "0-1,3": "0-1,3", "3,1,2,1": "1-3", " 0 - 0 ": "!", "1-0": "!", "a": "!", "-1": "!", "0,": "!", "9000": "!", "0-8191": "0-8191", "+1": "!",
	} {
		cpus, err := ParseCPUs(list)
		got := FormatCPUs(cpus)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q, %v; want %q", list, got, err, want)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	f.Add("0-1,3")
	f.Add("0-8191,0-8191")
	f.Fuzz(func(t *testing.T, s string) {
		cpus, err := ParseCPUs(s)
		if err != nil {
			return
		}
		again, err := ParseCPUs(FormatCPUs(cpus))
		if err != nil || !cmp.Equal(again, cpus) {
			t.Errorf("%q: %v, then %v, %v", s, cpus, again, err)
		}
	})
}

// keepHugetlb takes back, after the test, that v2 beside v1 passes that controller
// down.
func keepHugetlb(t *testing.T) {
	t.Helper()
	l, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	h, ok := l.Unified()
	if !ok || h.Sole {
		return
	}
	control := filepath.Join(h.Mount, "cgroup.subtree_control")
	if given, err := os.ReadFile(control); err != nil || strings.Contains(string(given), "hugetlb") {
		return
	}
	t.Cleanup(func() { _ = os.WriteFile(control, []byte("-hugetlb"), 0) })
}

// value reads a file of a group in the hierarchy that has the controller.
func (g Group) value(t *testing.T, controller, v1File, v2File string) string {
	t.Helper()
	h, v1, err := g.controller(controller)
	if err != nil {
		t.Fatal(err)
	}
	file := v2File
	if v1 {
		file = v1File
	}
	data, err := os.ReadFile(filepath.Join(g.dir(h), file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// TestApply sets limits in the kernel, changes them and takes them back.
func TestApply(t *testing.T) {
	keepHugetlb(t)
	g := testGroup(t)
	zero := int64(0)
	a := Limits{Memory: 64 << 20, Swap: &zero, Processes: 7, CPUs: "0", CPUShares: 512, CPUQuota: 20 * time.Millisecond, CPUPeriod: 50 * time.Millisecond}
	check := func(what string, want ...string) {
		t.Helper()
		got := []string{
			g.value(t, "memory", "memory.limit_in_bytes", "memory.max"), g.value(t, "pids", "pids.max", "pids.max"),
			g.value(t, "cpuset", "cpuset.effective_cpus", "cpuset.cpus.effective"),
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	parent, err := g.ParentCPUs()
	if err != nil {
		t.Fatal(err)
	}
	all := FormatCPUs(parent)
	if err := g.Apply(Limits{}, a); err != nil {
		t.Fatal(err)
	}
	check("set", "67108864", "7", "0")
	b := Limits{Memory: 128 << 20, Processes: 9}
	if err := g.Apply(a, b); err != nil {
		t.Fatal(err)
	}
	check("changed", "134217728", "9", all)
	// The last cannot be set, for there are no such pages: the rest is set back.
	err = g.Apply(b, Limits{Memory: 32 << 20, Processes: 3, HugePages: map[string]int64{"3MB": 0}})
	var missing *MissingError
	if !errors.As(err, &missing) || missing.Controller != "hugetlb" || missing.Hint() == "" {
		t.Errorf("huge pages of 3 MB: %v", err)
	}
	check("refused", "134217728", "9", all)
	if err := g.Apply(b, Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := g.value(t, "pids", "pids.max", "pids.max"); got != "max" {
		t.Errorf("pids.max is %s at last", got)
	}
}

// TestApplyBelow takes processors and time away that groups below have been given.
func TestApplyBelow(t *testing.T) {
	g := testGroup(t)
	for _, c := range []string{"cpuset", "cpu"} {
		h, v1, err := g.controller(c)
		if err != nil {
			t.Fatal(err)
		}
		below := filepath.Join(g.dir(h), "below")
		if err := os.MkdirAll(below, 0o755); err != nil {
			t.Fatal(err)
		}
		if !v1 {
			continue // nobody below can have more in v2
		}
		name, value := "cpuset.cpus", "0-1"
		if c == "cpu" {
			name, value = "cpu.cfs_quota_us", "90000"
		}
		if err := os.WriteFile(filepath.Join(below, name), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Apply(Limits{}, Limits{CPUs: "1", CPUQuota: 10 * time.Millisecond, CPUPeriod: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	cpus, err := g.CPUs()
	if err != nil || FormatCPUs(cpus) != "1" {
		t.Errorf("processors %v, %v", cpus, err)
	}
}

// TestMissingController is of a host whose kernel has no memory controller.
func TestMissingController(t *testing.T) {
	g := testGroup(t)
	for _, l := range []Layout{{{Mount: "/nowhere", Controllers: []string{"cpu"}}}, {}} {
		err := Group{layout: l, path: g.path}.Apply(Limits{}, Limits{Memory: 1 << 20})
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Controller != "memory" || !strings.Contains(err.Error(), `"memory"`) {
			t.Errorf("%v: %v", l, err)
		}
	}
}
