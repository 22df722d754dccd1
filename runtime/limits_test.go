package runtime

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/runtime/cgroup"
)

// TestLimits is of what an instance and its commands get, from the start, after a
// change and after a reboot.
func TestLimits(t *testing.T) {
	restoreControllers(t)
	s := testSpec(t, busyboxRoot(t))
	s.Limits.Processes = 30
	s.Limits.Memory = 128 << 20
	s.Limits.CPUCount = 1
	s.Limits.OOMScore = 300
	s.Limits.Rlimits = map[string]Rlimit{"nofile": {Soft: 100, Hard: 200}, "core": {Soft: 0, Hard: 0}}
	s.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
	inst := start(t, s)
	check := func(what, script, want string) {
		t.Helper()
		out, code := run(t, inst, "", "sh", "-c", script)
		if code != 0 || strings.TrimSpace(out) != want {
			t.Errorf("%s: %q, exit code %d; want %q", what, out, code, want)
		}
	}
	check("processors", "nproc", "1")
	check("open files", "ulimit -Sn; ulimit -Hn; ulimit -Hc", "100\n200\n0")
	check("open files of init", `grep "open files" /proc/1/limits | tr -s " "`, "Max open files 100 200 files")
	check("score", "cat /proc/1/oom_score_adj /proc/self/oom_score_adj", "300\n300")
	check("sysctls", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni", "1\n77")
	run(t, inst, "", "sh", "-c", "while :; do sleep 1 & done 2>/dev/null")
	if st, err := inst.Stats(); err != nil || st.Processes < 20 || st.Processes > 30 {
		t.Errorf("a fork bomb: %d processes, %v", st.Processes, err)
	}
	if own, err := ownOOMScore(); err != nil || own == 300 {
		t.Errorf("own score %d, %v", own, err)
	}

	l, err := inst.Limits()
	if err != nil {
		t.Fatal(err)
	}
	l.CPUCount, l.CPUs, l.Processes, l.OOMScore = 0, "1", 0, 100
	l.Rlimits = map[string]Rlimit{"nofile": {Soft: 90, Hard: 90}}
	eventually(t, "the sleeps to end", 10*time.Second, func() bool { st, err := inst.Stats(); return err == nil && st.Processes < 10 })
	if err := inst.SetLimits(l); err != nil {
		t.Fatal(err)
	}
	check("other processors", "grep Cpus_allowed_list /proc/self/status | cut -f2", "1")
	check("other open files", "ulimit -Hn", "90")
	check("other score", "cat /proc/1/oom_score_adj /proc/self/oom_score_adj", "100\n100")
	bad := l
	bad.HugePages = map[string]int64{"3MB": 1}
	bad.CPUs = ""
	if err := inst.SetLimits(bad); err == nil {
		t.Error("pages of 3 MB were limited")
	}
	check("processors as before", "grep Cpus_allowed_list /proc/self/status | cut -f2", "1")

	before := inst.PID()
	if out, code := run(t, inst, "", "reboot"); code != 0 {
		t.Fatalf("reboot: %s", out)
	}
	eventually(t, "the reboot", 20*time.Second, func() bool {
		again, err := Open(s.RunDir)
		if err != nil || again.PID() == before {
			return false
		}
		_ = inst.Close()
		inst = again
		return true
	})
	check("the same after a reboot", "grep Cpus_allowed_list /proc/self/status | cut -f2; ulimit -Hn", "1\n90")
}

// TestLimitsHoldInside tries to lift the limits as the instance's root.
func TestLimitsHoldInside(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.Limits.Processes = 25
	s.Limits.Memory = 64 << 20
	inst := start(t, s)
	out, code := run(t, inst, "", "sh", "-c", `
		for f in $(find /sys/fs/cgroup -maxdepth 2 -name "pids.max" -o -maxdepth 2 -name "memory.limit_in_bytes" -o -maxdepth 2 -name "memory.max" -o -maxdepth 2 -name freezer.state -o -maxdepth 2 -name cgroup.freeze); do
			case $f in */freez*|*freeze) v=0;; *) v=1000000000;; esac
			if echo $v 2>/dev/null > $f; then echo "lifted $f"; fi
			chmod 777 $f 2>/dev/null && echo "chmod $f"
			seen=1
		done
		for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
			mkdir $d/sub 2>/dev/null && { echo 1000000000 > $d/sub/memory.limit_in_bytes; echo 1000000000 > $d/sub/memory.max; echo max > $d/sub/pids.max; echo $$ > $d/sub/cgroup.procs; } 2>/dev/null
			echo $$ 2>/dev/null > $d/../cgroup.procs
		done
		[ "$seen" ] || echo "no limit seen"
		head -c 200000000 /dev/zero | tail -c 150000000 | wc -c`)
	if strings.Contains(out, "lifted") || strings.Contains(out, "chmod") || strings.Contains(out, "no limit") || strings.Contains(out, "150000000") {
		t.Errorf("code %d: %s", code, out)
	}
	st, err := inst.Stats()
	kills, kerr := inst.OOMKills()
	if err != nil || kerr != nil || kills < 1 || st.MemoryPeak > 64<<20 {
		t.Errorf("%d kills, %+v, %v, %v", kills, st, err, kerr)
	}
	if got, code := run(t, inst, "", "echo", "alive"); code != 0 {
		t.Errorf("after that: %s", got)
	}
}

func TestSysctlRefused(t *testing.T) {
	for name, want := range map[string]string{
		"vm.swappiness": "a setting of the whole host", "net.ipv4.no_such": "no such setting", "kernel.shmmni/..": "invalid sysctl", "..": "invalid sysctl",
	} {
		s := testSpec(t, busyboxRoot(t))
		s.Sysctls = map[string]string{name: "1"}
		if err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		name   string
		online []int
		list   []balancedInstance
		want   map[string][]int
	}{
		{"nobody", []int{0, 1}, nil, map[string][]int{}},
		{"spread", []int{0, 1, 2, 3}, []balancedInstance{{name: "a", count: 1}, {name: "b", count: 2}, {name: "c", count: 2}}, map[string][]int{"a": {0}, "b": {1, 2}, "c": {0, 3}}},
		{"around the pinned", []int{0, 1}, []balancedInstance{{name: "p", cpus: []int{0}}, {name: "a", count: 1}}, map[string][]int{"a": {1}}},
		{"more than there are", []int{0, 1}, []balancedInstance{{name: "a", count: 9}}, map[string][]int{"a": {0, 1}}},
		{"some only", []int{0, 1, 2}, []balancedInstance{{name: "a", count: 2, cpus: []int{1, 2}}}, map[string][]int{"a": {1, 2}}},
		{"those are gone", []int{0, 1}, []balancedInstance{{name: "a", count: 1, cpus: []int{7}}}, map[string][]int{"a": {0}}},
	} {
		if d := cmp.Diff(c.want, share(c.online, c.list)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestBalance starts two instances with one processor each, and stops one.
func TestBalance(t *testing.T) {
	root := busyboxRoot(t)
	a := testSpec(t, root)
	a.Limits.CPUCount = 1
	b := testSpec(t, root)
	b.RunDir = filepath.Join(filepath.Dir(a.RunDir), b.Name)
	b.Limits.CPUCount = 1
	c := testSpec(t, root)
	c.RunDir = filepath.Join(filepath.Dir(a.RunDir), c.Name)
	c.Limits.CPUs = "1"
	cpus := func(i *Instance) string {
		g, err := i.group()
		if err != nil {
			t.Fatal(err)
		}
		list, err := g.CPUs()
		if err != nil {
			t.Fatal(err)
		}
		return cgroup.FormatCPUs(list)
	}
	stop := func(i *Instance) {
		t.Helper()
		if err := i.Stop(t.Context(), StopOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
	ia, ib := start(t, a), start(t, b)
	if x, y := cpus(ia), cpus(ib); x == y || len(x) != 1 || len(y) != 1 {
		t.Errorf("processors %s and %s", x, y)
	}
	ic := start(t, c)
	stop(ib)
	if x, z := cpus(ia), cpus(ic); x != "0" || z != "1" {
		t.Errorf("processors %s and %s after a stop", x, z)
	}
	stop(ic)
}

// TestRlimitNames keeps the names those of the kernel.
func TestRlimitNames(t *testing.T) {
	data, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(data), "\n") - 1; got != len(rlimits) {
		t.Errorf("%d names for %d limits: %v", len(rlimits), got, slices.Sorted(maps.Keys(rlimits)))
	}
}
