package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOffline looks into and repairs what does not run: mounts, files of snapshots, and commands in a root without its init.
func TestOffline(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "echo old > /root/mark; chown 5:6 /root/mark")
	h.ok("snapshot", "create", "c1", "s1")
	h.fails(1, `it is running(.|\n)*poolctl exec c1 -- COMMAND`, "exec", "--offline", "c1", "--", "true")
	h.ok("exec", "c1", "--", "sh", "-c", "echo new > /root/mark; ln -sf /nothing /sbin/init") // it will not start again
	h.ok("stop", "--force", "c1")
	h.offlineMounts(t)
	h.offlineFiles(t)
	h.offlineExec(t)
	h.offlineKilled(t)

	// The repair: it starts again.
	h.fails(1, "/sbin/init", "start", "c1")
	h.ok("exec", "--offline", "c1", "--", "ln", "-sf", "/bin/busybox", "/sbin/init")
	h.ok("start", "c1")
	h.matches(`^fixed\n$`, "exec", "c1", "--", "cat", "/root/mark")
	h.ok("delete", "--force", "c1")
}

func (h *host) offlineMounts(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	h.ok("mount", "--rw", "c1", dir)
	st, err := os.Stat(filepath.Join(dir, "root/mark"))
	if err != nil {
		t.Fatal(err)
	}
	if owner, _ := st.Sys().(*syscall.Stat_t); owner.Uid != 5 || owner.Gid != 6 {
		t.Errorf("%+v", owner)
	}
	h.fails(1, `in use: it is mounted writable at `+dir, "start", "c1")
	h.fails(1, `in use: it is mounted writable at `+dir, "exec", "--offline", "c1", "--", "true")
	h.ok("exec", "--offline", "c1/s1", "--", "true")
	h.matches(`c1.*mounted at `+dir, "doctor")
	h.ok("umount", "c1")
	h.ok("mount", "--host-ids", "c1/s1", dir)
	if got, err := os.ReadFile(filepath.Join(dir, "root/mark")); string(got) != "old\n" {
		t.Errorf("%q, %v", got, err)
	}
	h.fails(1, "mounted", "snapshot", "delete", "c1", "s1")
	h.ok("umount", dir)
}

func (h *host) offlineFiles(t *testing.T) {
	t.Helper()
	if got := h.ok("file", "pull", "c1/s1/root/mark", "-"); got != "old\n" {
		t.Errorf("%q", got)
	}
	if got := h.ok("file", "pull", "c1//root/mark", "-"); got != "new\n" {
		t.Errorf("%q", got)
	}
	into := t.TempDir()
	h.ok("file", "pull", "-r", "c1/s1/root", into)
	if got, err := os.ReadFile(filepath.Join(into, "root/mark")); string(got) != "old\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, args := range [][]string{
		{"file", "push", filepath.Join(into, "root/mark"), "c1/s1/root/other"},
		{"file", "delete", "c1/s1/root/mark"},
		{"file", "create", "c1/s1/root/other"},
	} {
		h.fails(1, `c1/s1 is a snapshot, which is read-only`, args...)
	}
	h.fails(1, `cannot pull c1/s2/root/mark: no such file`, "file", "pull", "c1/s2/root/mark", "-")
}

// idleScript is what may be tried on PID 1: the file that it was executed from cannot be written to, it reaps, and no signal
// from inside ends it.
const idleScript = "(echo x > /proc/1/exe) 2>/dev/null || echo refused; for s in $(seq 1 64); do kill -$s 1; done 2>/dev/null; (sleep 0.05 &); sleep 0.2; ps -o stat | grep -c Z; echo alive"

func (h *host) offlineExec(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"c1", "--", "cat", "/root/mark"}, 0, "new\n"},
		{[]string{"c1/s1", "--", "cat", "/root/mark"}, 0, "old\n"},
		{[]string{"c1", "--", "sh", "-c", "exit 7"}, 7, ""},
		{[]string{"c1", "--", "sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"c1", "--", "nosuchcommand"}, 127, ""},
		{[]string{"c1", "--", "sh", "-c", "hostname; id -u; pwd; stat -c %u:%g /root/mark; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '; cat /proc/1/comm"}, 0, "c1\n0\n/root\n5:6\nlo\npoolctl-idle\n"},
		{[]string{"-t", "c1", "--", "sh", "-c", "test -t 0 && echo terminal"}, 0, "terminal\r\n"},
		{[]string{"c1", "--", "sh", "-c", idleScript}, 0, "refused\n0\nalive\n"},
		{[]string{"c1/s1", "--", "sh", "-c", "echo thrown > /root/mark && cat /root/mark"}, 0, "thrown\n"},
		{[]string{"c1/s1", "--", "cat", "/root/mark"}, 0, "old\n"},
		{[]string{"c1", "--", "sh", "-c", "echo fixed > /root/mark"}, 0, ""},
		{[]string{"--network", "c1", "--", "sh", "-c", "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | sort"}, 0, "eth0\nlo\n"},
	} {
		if r := h.run(append([]string{"exec", "--offline"}, c.args...)...); r.code != c.code || r.stdout != c.out {
			t.Errorf("want %d and %q: %s", c.code, c.out, r)
		}
	}
	h.ok("config", "set", "c1", "security.privileged=true")
	if r := h.run("exec", "--offline", "c1", "--", "sh", "-c", idleScript); r.code != 0 || r.stdout != "refused\n0\nalive\n" {
		t.Errorf("privileged: %s", r)
	}
	h.ok("config", "unset", "c1", "security.privileged")
	h.fails(2, "--network is for --offline", "exec", "--network", "c1", "--", "true")
	h.fails(1, "not found", "exec", "--offline", "c1/none", "--", "true")
	h.fails(1, "not found", "exec", "--offline", "none", "--", "true")
	h.matches(`c1 +\| STOPPED`, "list")
	if found := strays(t, h); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	if left, err := os.ReadDir(filepath.Join(h.attached(), ".poolctl/staging")); len(left) != 0 || err != nil {
		t.Errorf("left in staging: %v, %v", left, err)
	}
}

// offlineKilled ends the program while a command runs: by Ctrl-C, and so that the next command has to clean up.
func (h *host) offlineKilled(t *testing.T) {
	t.Helper()
	for _, ref := range []string{"c1", "c1/s1"} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			cmd := h.command(ctx, "exec", "--offline", ref, "--", "sleep", "1000")
			cmd.WaitDelay = 100 * time.Millisecond
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			h.until("it runs", func() bool { return strings.Contains(h.run("doctor").stdout, "a command runs in it offline") })
			if ref == "c1" {
				h.fails(1, `in use: a command runs in c1`, "start", "c1")
				h.fails(1, `in use: a command runs in it already`, "exec", "--offline", "c1", "--", "true")
			}
			h.fails(1, `in use: a command runs in `+ref, "delete", "c1")
			h.fails(1, `a command runs in `+ref, "pool", "detach", "default")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // its status is in ProcessState
			if code := cmd.ProcessState.ExitCode(); sig == syscall.SIGINT && code != 130 {
				t.Errorf("Ctrl-C: exit code %d", code)
			}
			cancel()
			if found := strays(t, h); len(found) > 0 {
				t.Errorf("%s, %s: left: %v", ref, sig, found)
			}
			h.ok("config", "show", "c1") // which opens the pool
			if left, err := os.ReadDir(filepath.Join(h.attached(), ".poolctl/staging")); len(left) != 0 || err != nil {
				t.Errorf("%s, %s: left in staging: %v, %v", ref, sig, left, err)
			}
		}
	}
}
