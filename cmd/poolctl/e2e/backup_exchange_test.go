package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exchangeInstances takes an instance of ours, which runs, to LXD, where it is started, and back.
func exchangeInstances(t *testing.T, h *host, l *lxd) {
	t.Helper()
	theirs, ours := filepath.Join(l.dir, "lxd/storage-pools/default"), filepath.Join(h.state, "storage-pools/default")
	h.ok("launch", "m:busybox", "c1", "-c", "user.k=a b", "-c", "user.odd="+oddValue)
	srv := filepath.Join(ours, "containers/c1/rootfs/srv")
	if err := os.MkdirAll(srv, 0o755); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, snap := range []string{"s1", ""} {
		fillVolume(t, srv, "of "+snap)
		if want[snap] = describe(t, srv); snap != "" {
			h.ok("snapshot", "create", "c1", snap)
			tool(t, "btrfs", "subvolume", "create", filepath.Join(srv, "sub-a"))
			tool(t, "touch", "-d", "2001-02-03", filepath.Join(srv, "sub-a"), srv)
		}
	}
	for i, args := range [][]string{{"--compression", "gzip"}, {"--optimized-storage", "--compression", "none"}} {
		out, back := filepath.Join(h.dir, fmt.Sprintf("out%d.tar", i)), filepath.Join(h.dir, fmt.Sprintf("back%d.tar", i))
		h.ok(append([]string{"export", "c1", out}, args...)...)
		l.lxc("import", out)
		for dir, what := range map[string]string{"containers/c1/rootfs/srv": want[""], "containers-snapshots/c1/s1/rootfs/srv": want["s1"]} {
			if got := describe(t, filepath.Join(theirs, dir)); got != what {
				t.Errorf("%v: %s in LXD is\n%s\nwant\n%s", args, dir, got, what)
			}
		}
		if got := l.lxc("config", "get", "c1", "user.k"); got != "a b\n" {
			t.Errorf("the key in LXD is %q", got)
		}
		if got := l.lxc("config", "get", "c1", "user.odd"); got != oddValue+"\n" {
			t.Errorf("the odd value in LXD is %q", got)
		}
		l.lxc("start", "c1")
		if got := l.lxc("exec", "c1", "--", "cat", "/srv/mark"); got != "of \n" {
			t.Errorf("in LXD the mark is %q", got)
		}
		l.lxc("exec", "c1", "--", "sh", "-c", "echo of LXD > /root/mark")
		l.lxc("stop", "--force", "c1")
		l.lxc(append([]string{"export", "c1", back}, args...)...)
		l.lxc("delete", "c1")
		name := fmt.Sprint("back", i)
		h.ok("import", back, name)
		isBack(h, name, want)
		if got := h.ok("config", "get", name, "user.odd"); got != oddValue+"\n" {
			t.Errorf("the odd value is back as %q", got)
		}
		h.ok("delete", name)
		for _, file := range []string{out, back} {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
	}
	h.ok("delete", "--force", "c1")
}

// isBack looks into an instance that was in LXD, where it was started: the owners that it has inside are what they were.
func isBack(h *host, name string, want map[string]string) {
	h.t.Helper()
	for snap, what := range want {
		ref := strings.TrimSuffix(name+"/"+snap, "/")
		dir := strings.TrimSpace(h.ok("mount", ref))
		if got := describe(h.t, filepath.Join(dir, "srv")); got != what {
			h.t.Errorf("%s is\n%s\nwant\n%s", ref, got, what)
		}
		h.ok("umount", dir)
	}
	works(h, name, `^of LXD\n$`)
	h.ok("restore", name, "s1")
	h.ok("start", name)
	h.matches(`^of s1\n$`, "exec", name, "--", "cat", "/srv/mark")
	h.matches(`^1000:1001\n$`, "exec", name, "--", "stat", "-c", "%u:%g", "/srv/a dir/ünder/file")
	h.ok("stop", "--force", name)
}
