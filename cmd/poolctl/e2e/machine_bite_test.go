package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestLeakChecksBite makes by hand what a command could leave behind and checks that the suite's own eyes see all of it;
// else every check for leaks would pass.
func TestLeakChecksBite(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	h := &host{t: t, state: state}
	before, err := lookAround()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"disks", "journal/x", "storage-pools/p"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(state, "disks/p.img")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	sh := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	loop := sh("losetup", "--find", "--show", file)
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", loop).Run() })
	mnt := filepath.Join(state, "storage-pools/p")
	sh("mount", "-t", "tmpfs", "none", mnt)
	t.Cleanup(func() { _ = exec.Command("umount", mnt).Run() })
	tops, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil || len(tops) == 0 {
		t.Fatalf("no cgroup hierarchy: %v", err)
	}
	group := filepath.Join(filepath.Dir(tops[0]), cgroupOf(state), "c1")
	if err := os.MkdirAll(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = os.Remove(group), os.Remove(filepath.Dir(group)) })
	link := "e2ebite0"
	sh("ip", "link", "add", link, "type", "bridge")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", link).Run() })
	// A process of the program, wherever its file is by now.
	busy := filepath.Join(suite.dir, "bite")
	sh("cp", "/bin/sleep", busy)
	sleeper := exec.CommandContext(t.Context(), busy, "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() })
	sh("rm", busy)

	now, err := lookAround()
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.Join(now.since(before), "\n")
	if named := strings.Join(ownOf(now.since(before)), "\n"); !strings.Contains(named, "process "+strconv.Itoa(sleeper.Process.Pid)) {
		t.Errorf("what names this run's directory should count as its own:\n%s", named)
	}
	own := strings.Join(h.unaccounted(nil, nil), "\n")
	for _, want := range []string{"loop " + filepath.Base(loop), mnt, "cgroup " + group} {
		if !strings.Contains(whole, want) {
			t.Errorf("the look at the whole machine misses %s:\n%s", want, whole)
		}
		if !strings.Contains(own, want) {
			t.Errorf("the look at one host misses %s:\n%s", want, own)
		}
	}
	if !strings.Contains(whole, "link "+link) {
		t.Errorf("the look at the whole machine misses the bridge:\n%s", whole)
	}
	if !strings.Contains(whole, "process "+strconv.Itoa(sleeper.Process.Pid)) {
		t.Errorf("the look at the whole machine misses the process:\n%s", whole)
	}
	if !strings.Contains(own, "journal/x") {
		t.Errorf("the look at one host misses the open intent:\n%s", own)
	}
}
