package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestVolumeInInstances: custom volumes come to and go from instances that run, several have one, and owners inside are
// those on the disk.
func TestVolumeInInstances(t *testing.T) {
	h := opHost(t)
	ensureVolume(h)
	h.ok("launch", "bb", "c1")
	h.ok("launch", "bb", "c2")
	h.ok("pool", "volume", "attach", "default", "v v", "c1", "d", "/srv/new dir/v")
	h.ok("pool", "volume", "attach", "default", "v v", "c2", "d", "/mnt")
	h.matches(`^new$`, "exec", "c1", "--", "cat", "/srv/new dir/v/mark")
	h.ok("exec", "c1", "--", "sh", "-c", "echo from c1 > '/srv/new dir/v/shared'; chown 1000:1000 '/srv/new dir/v/shared'")
	h.matches(`^from c1\n1000:1000\n$`, "exec", "c2", "--", "sh", "-c", "cat /mnt/shared; stat -c %u:%g /mnt/shared")
	for _, args := range [][]string{
		{"pool", "volume", "delete", "default", "v v"},
		{"pool", "volume", "restore", "default", "v v", "s0"},
		{"pool", "volume", "rename", "default", "v v", "w"},
		{"pool", "detach", "default"},
		{"pool", "volume", "attach", "default", "v v", "c1", "d", "/x"},
		{"pool", "volume", "attach", "default", "none", "c1", "e", "/x"},
		{"pool", "volume", "attach", "default", "v v", "c1", "e", "/proc"},
		{"pool", "volume", "attach", "default", "v v", "c1", "e", "/"},
	} {
		if r := h.run(args...); r.code != 1 {
			t.Errorf("not refused: %s", r)
		}
	}
	h.ok("pool", "volume", "snapshot", "create", "default", "v v", "in-use")
	h.ok("restart", "--force", "c1")
	h.matches(`^from c1\n$`, "exec", "c1", "--", "cat", "/srv/new dir/v/shared")
	h.ok("exec", "c2", "--", "sh", "-c", "cd /mnt; sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > /run/pid")
	if r := h.run("pool", "volume", "detach", "default", "v v", "c2"); r.code != 1 {
		t.Errorf("detached while it is in use inside: %s", r)
	}
	h.matches(`^from c1\n$`, "exec", "c2", "--", "cat", "/mnt/shared")
	h.ok("stop", "--force", "c2")
	h.ok("pool", "volume", "detach", "default", "v v", "c2")
	h.ok("pool", "volume", "detach", "default", "v v", "c1")
	h.matches(`^0\n$`, "exec", "c1", "--", "sh", "-c", "ls '/srv/new dir/v' | wc -l")
	h.ok("delete", "--force", "c1")
	h.ok("delete", "c2")
	dropVolumes(h)
}

// TestHostDisks: directories of the host's, and disks whose source is missing.
func TestHostDisks(t *testing.T) {
	h := opHost(t)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.ok("init", "bb", "c1")
	h.ok("config", "device", "add", "c1", "host", "disk", "source="+dir, "path=/host", "readonly=true", "shift=true")
	h.ok("config", "device", "add", "c1", "maybe", "disk", "source="+dir+"/none", "path=/maybe", "required=false")
	h.ok("config", "device", "add", "c1", "old", "disk", "source="+dir+"/none", "path=/old", "optional=true")
	h.ok("config", "device", "add", "c1", "shared", "disk", "source="+dir, "path=/shared", "propagation=shared", "recursive=true")
	h.fails(1, `propagation="sometimes" is none of private, rprivate`, "config", "device", "set", "c1", "shared", "propagation=sometimes")
	if r := h.run("start", "c1"); r.code != 0 || !strings.Contains(r.stderr, "disk maybe is left out") || !strings.Contains(r.stderr, "disk old is left out") {
		t.Errorf("%+v", r)
	}
	h.matches(`^host`, "exec", "c1", "--", "cat", "/host/f")
	h.matches(`shared:`, "exec", "c1", "--", "grep", " /shared ", "/proc/self/mountinfo")
	h.ok("config", "device", "set", "c1", "shared", "propagation=private")
	if r := h.run("exec", "c1", "--", "grep", " /shared .*shared:", "/proc/self/mountinfo"); r.code != 1 {
		t.Errorf("it is still shared: %+v", r)
	}
	if r := h.run("exec", "c1", "--", "touch", "/host/x"); r.code == 0 {
		t.Errorf("written to what is read-only: %s", r)
	}
	h.ok("stop", "--force", "c1")
	h.fails(1, `maybe.*no such file`, "config", "device", "set", "c1", "maybe", "required=true")
	h.ok("config", "device", "remove", "c1", "maybe")
	h.ok("config", "device", "add", "c1", "gone", "disk", "source="+dir+"/f", "path=/gone")
	if err := os.Remove(dir + "/f"); err != nil {
		t.Fatal(err)
	}
	h.fails(1, `gone.*no such file`, "start", "c1")
	h.ok("config", "device", "remove", "c1", "gone")
	works(h, "c1", "")
	h.ok("delete", "c1")
}
