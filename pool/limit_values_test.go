package pool

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/runtime"
	"poolctl/runtime/cgroup"
)

func TestLimitsOf(t *testing.T) {
	num := func(n int64) *int64 { return &n }
	total, err := HostMemory()
	if err != nil {
		t.Fatal(err)
	}
	lim := func(f func(*runtime.Limits)) runtime.Limits {
		var l runtime.Limits
		f(&l)
		return l
	}
	for _, c := range []struct {
		config map[string]string
		want   runtime.Limits
	}{
		{map[string]string{"user.x": "1"}, runtime.Limits{}},
		{map[string]string{"limits.cpu": "2"}, runtime.Limits{CPUCount: 2}},
		{map[string]string{"limits.cpu": "0-1,3"}, lim(func(l *runtime.Limits) { l.CPUs = "0-1,3" })},
		{map[string]string{"limits.cpu.allowance": "50%"}, lim(func(l *runtime.Limits) { l.CPUShares = 524 })},
		{map[string]string{"limits.cpu.allowance": "100%"}, runtime.Limits{}},
		{map[string]string{"limits.cpu.priority": "10"}, runtime.Limits{}},
		{map[string]string{"limits.cpu.priority": "0"}, lim(func(l *runtime.Limits) { l.CPUShares = 1014 })},
		{map[string]string{"limits.cpu.allowance": "25ms/100ms", "limits.cpu.priority": "5"}, lim(func(l *runtime.Limits) {
			l.CPUShares, l.CPUQuota, l.CPUPeriod = 1019, 25*time.Millisecond, 100*time.Millisecond
		})},
		{map[string]string{"limits.memory": "1GiB"}, lim(func(l *runtime.Limits) {
			l.Memory, l.MemorySoft, l.Swap = 1<<30, (1<<30)/10*9, num(0)
		})},
		{map[string]string{"limits.memory": "50%", "limits.memory.enforce": "soft"}, lim(func(l *runtime.Limits) { l.MemorySoft = total / 100 * 50 })},
		{map[string]string{"limits.memory": "1GiB", "limits.memory.swap": "512MiB"}, lim(func(l *runtime.Limits) {
			l.Memory, l.MemorySoft, l.Swap = 1<<30, (1<<30)/10*9, num(512<<20)
		})},
		{map[string]string{"limits.memory.swap": "false"}, lim(func(l *runtime.Limits) { l.Swap, l.Swappiness = num(0), num(0) })},
		{map[string]string{"limits.memory.swap": "true", "limits.memory.swap.priority": "0"}, lim(func(l *runtime.Limits) { l.Swappiness = num(70) })},
		{map[string]string{"limits.memory.oom_priority": "-500"}, runtime.Limits{OOMScore: -500}},
		{map[string]string{"limits.processes": "100", "limits.disk.priority": "10"}, lim(func(l *runtime.Limits) { l.Processes, l.IOWeight = 100, 200 })},
		{map[string]string{"limits.disk.priority": "0"}, lim(func(l *runtime.Limits) { l.IOWeight = 2 })},
		{map[string]string{"limits.hugepages.2MB": "64MiB"}, lim(func(l *runtime.Limits) { l.HugePages = map[string]int64{"2MB": 64 << 20} })},
		{map[string]string{"limits.kernel.nofile": "20:40", "limits.kernel.core": "unlimited", "limits.kernel.nproc": ""}, runtime.Limits{
			Rlimits: map[string]runtime.Rlimit{"nofile": {Soft: 20, Hard: 40}, "core": {Soft: runtime.RlimitInfinity, Hard: runtime.RlimitInfinity}},
		}},
		{map[string]string{"limits.cpu": "", "limits.memory": "", "limits.processes": ""}, runtime.Limits{}},
	} {
		if err := checkInstanceConfig(c.config); err != nil {
			t.Errorf("%v: %v", c.config, err)
		}
		got, err := limitsOf(c.config)
		if err != nil {
			t.Errorf("%v: %v", c.config, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%v: %s", c.config, d)
		}
	}
}

func TestLimitsRefused(t *testing.T) {
	for key, values := range map[string][]string{
		"limits.cpu":                  {"0", "-1", "x", "1-", "9000", "0,,1", "1.5", "1,0-2", "0, 1"},
		"limits.cpu.allowance":        {"0%", "30000%", "%", "50", "25ms", "25/100", "0ms/100ms", "25ms/0ms", "1ms/2000ms", "25ms/100ms/1ms"},
		"limits.cpu.priority":         {"-1", "11", "x"},
		"limits.cpu.nodes":            {"x", "1-0", "balanced"},
		"limits.memory":               {"0", "-1", "1", "101%", "0%", "x", "1XB"},
		"limits.memory.enforce":       {"medium"},
		"limits.memory.swap":          {"perhaps", "-1"},
		"limits.memory.swap.priority": {"11"},
		"limits.memory.oom_priority":  {"1001", "-1001", "x"},
		"limits.processes":            {"0", "-5", "many"},
		"limits.disk.priority":        {"11", "high"},
		"limits.hugepages.2MB":        {"x"},
		"limits.hugepages.3MB":        {"1GiB"},
		"limits.kernel.nofile":        {"x", "2:1", "1:2:3", "-1", "unlimited:1"},
		"limits.kernel.files":         {"1"},
		"limits.memorie":              {"1GiB"},
	} {
		for _, v := range values {
			if err := checkInstanceConfig(map[string]string{key: v}); err == nil {
				t.Errorf("%s=%s was taken", key, v)
			}
		}
	}
	// A number of nodes that no host has.
	if _, err := limitsOf(map[string]string{"limits.cpu.nodes": "4000"}); err == nil {
		t.Error("node 4000 was taken")
	}
}

func TestDiskRate(t *testing.T) {
	for _, c := range []struct {
		dev  map[string]string
		want cgroup.IORate
		bad  bool
	}{
		{map[string]string{"limits.read": "10MB"}, cgroup.IORate{ReadBytes: 10e6}, false},
		{map[string]string{"limits.write": "100iops"}, cgroup.IORate{WriteOps: 100}, false},
		{map[string]string{"limits.read": "10MB", "limits.max": "1MiB"}, cgroup.IORate{ReadBytes: 1 << 20, WriteBytes: 1 << 20}, false},
		{map[string]string{"limits.max": "5iops"}, cgroup.IORate{ReadOps: 5, WriteOps: 5}, false},
		{map[string]string{"limits.max": "0"}, cgroup.IORate{}, true},
		{map[string]string{"limits.max": "fast"}, cgroup.IORate{}, true},
		{map[string]string{"limits.read": "-5iops"}, cgroup.IORate{}, true},
	} {
		got, err := diskRate(c.dev)
		if (err != nil) != c.bad || err == nil && got != c.want {
			t.Errorf("%v: %+v, %v", c.dev, got, err)
		}
		if err := checkDiskLimits(c.dev); (err != nil) != c.bad {
			t.Errorf("%v: checked: %v", c.dev, err)
		}
	}
	low := lowerRate(cgroup.IORate{ReadBytes: 5, WriteOps: 9}, cgroup.IORate{ReadBytes: 7, WriteOps: 8, ReadOps: 1})
	if want := (cgroup.IORate{ReadBytes: 5, WriteOps: 8, ReadOps: 1}); low != want {
		t.Errorf("%+v", low)
	}
}

// FuzzLimitKeys: what a key's check takes, a start understands, but for what the
// host has not.
func FuzzLimitKeys(f *testing.F) {
	keys := limitKeys()
	names := map[string]bool{}
	for _, k := range keys {
		names[k.name] = true
	}
	delete(names, "linux.sysctl.*")
	delete(names, "limits.cpu.nodes")
	list := slices.Sorted(maps.Keys(names))
	for i := range list {
		for _, v := range []string{"1", "50%", "25ms/100ms", "0-1,3", "1GiB", "true", "20:40", "unlimited", "soft"} {
			f.Add(i, v)
		}
	}
	f.Fuzz(func(t *testing.T, i int, v string) {
		key := list[uint(i)%uint(len(list))] //nolint:gosec // any will do
		config := map[string]string{key: v}
		if checkInstanceConfig(config) != nil || v == "" {
			return
		}
		if _, err := limitsOf(config); err != nil {
			t.Errorf("%s=%q: %v", key, v, err)
		}
	})
}

func FuzzParseRate(f *testing.F) {
	f.Add("10MB")
	f.Add("100iops")
	f.Fuzz(func(t *testing.T, s string) {
		bytes, ops, err := parseRate(s)
		if err == nil && (bytes < 0 || ops < 0 || bytes+ops == 0) {
			t.Errorf("%q: %d, %d", s, bytes, ops)
		}
	})
}
