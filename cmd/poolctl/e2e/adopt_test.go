package e2e

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// inspection is what `pool inspect --format json` says, as far as the tests look.
type inspection struct {
	Origin, Name string
	Log          bool
	Instances    []instance
	Images       []struct{ Fingerprint string }
	Volumes      []struct {
		Name      string
		Snapshots []struct{ Name string }
	}
}

// sumOf is the SHA-256 of a file.
func sumOf(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// TestAdoptPoolOfLXD takes a pool of a real LXD in with everything in it: it is refused while LXD has it, looked into
// without a changed byte, adopted under another name beside a pool of that name, used, and opened by LXD again.
func TestAdoptPoolOfLXD(t *testing.T) {
	m := serve(t, realMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool()
	l := newLXD(t, filepath.Join(h.dir, "l"), m)
	l.fill(m)
	file := l.file("default")
	for _, args := range [][]string{{"pool", "inspect", file}, {"pool", "adopt", file, "--name", "lxd"}} {
		h.fails(1, `in use: it is mounted from /dev/loop\d+ at `+l.dir+`/lxd/storage-pools/default`, args...)
	}
	l.stop()
	h.inspectLXD(file)
	h.ok("pool", "adopt", file, "--name", "lxd")
	h.useLXD()
	h.ok("pool", "detach", "lxd")
	l.recovers(file)
}

// inspectLXD looks into the pool that LXD made: not a byte of its file changes.
func (h *host) inspectLXD(file string) {
	h.t.Helper()
	before := sumOf(h.t, file)
	var in inspection
	h.json(&in, "pool", "inspect", file)
	var names []string
	for _, i := range in.Instances {
		names = append(names, i.Name)
		for _, s := range i.Snapshots {
			names = append(names, i.Name+"/"+s.Name)
		}
	}
	if want := []string{"p_r3", "r1", "r1/s0", "r1/s1", "r2"}; in.Origin != "lxd" || in.Name != "default" || in.Log || !slices.Equal(names, want) || len(in.Images) != 2 {
		h.t.Errorf("found %+v", in)
	}
	if len(in.Volumes) != 1 || in.Volumes[0].Name != "vol1" || len(in.Volumes[0].Snapshots) != 1 {
		h.t.Errorf("volumes: %+v", in.Volumes)
	}
	h.matches(`r1/s1`, "pool", "inspect", file)
	dir := filepath.Join(h.dir, "look")
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.ok("pool", "inspect", file, "r1/s1", dir)
	for path, want := range map[string]string{"/root/mark": "kept\n", "/root/of-1000": "of-1000\n"} {
		if got, err := os.ReadFile(dir + path); err != nil || string(got) != want {
			h.t.Errorf("%s of the snapshot: %q, %v", path, got, err)
		}
	}
	if out, err := exec.CommandContext(h.t.Context(), "stat", "-c", "%u:%g", dir, dir+"/root/of-1000").CombinedOutput(); err != nil || string(out) != "0:0\n1000:1001\n" {
		h.t.Errorf("owners seen in the snapshot: %s, %v", out, err)
	}
	h.ok("umount", dir)
	if sumOf(h.t, file) != before {
		h.t.Error("inspecting the file has changed it")
	}
}

// useLXD uses everything in the adopted pool.
func (h *host) useLXD() {
	h.t.Helper()
	all := h.instances()
	if len(all) != 3 || len(all["r1"].Snapshots) != 2 {
		h.t.Fatalf("instances: %+v", all)
	}
	for name, in := range all {
		if in.Problem != "" || in.Status != "Stopped" {
			h.t.Errorf("%s: %+v", name, in)
		}
	}
	for _, name := range []string{"r1", "r2", "p_r3"} {
		h.ok("start", name)
	}
	h.matches(`^later\n0:0\n1000:1001\n$`, "exec", "r1", "--", "sh", "-c", "cat /root/mark; stat -c %u:%g / /root/of-1000")
	h.matches(`^in-volume\n0:0\n1000:1001\n$`, "exec", "r1", "--", "sh", "-c", "cat /data/file; stat -c %u:%g /data /data/file")
	h.matches(`vol1`, "pool", "volume", "list", "lxd")
	h.matches(`(?s)expanded_devices:.*eth0:\s+type: none`, "list", "r1", "--format", "yaml") // it had no network
	h.matches(`user.tier: gold\n`, "list", "r1", "--format", "yaml")
	h.matches(`user.extra: "1"\n`, "list", "r1", "--format", "yaml")
	h.ok("exec", "r1", "--", "sh", "-c", "echo ours > /root/ours; sync")
	h.ok("restore", "r1", "s1")
	h.matches(`^kept\nno\n$`, "exec", "r1", "--", "sh", "-c", "cat /root/mark; cat /root/ours 2>/dev/null || echo no")
	h.matches(`user.tier: gold\n`, "list", "r1", "--format", "yaml")
	h.ok("snapshot", "create", "r1", "s2")
	h.ok("copy", "r1", "r4")
	h.ok("copy", "r1/s0", "r5") // of before LXD shifted its ids
	for _, name := range []string{"r4", "r5"} {
		h.ok("start", name)
		h.matches(`^0:0\n`+name+`\n$`, "exec", name, "--", "sh", "-c", "stat -c %u:%g /; hostname")
		h.ok("delete", "--force", name)
	}
	for fingerprint := range h.images() {
		h.ok("init", fingerprint, "r6", "--storage", "lxd")
		works(h, "r6", "")
		h.ok("delete", "r6")
	}
	h.ok("stop", "--force", "r1", "r2", "p_r3")
	h.ok("delete", "p_r3")
	h.ok("config", "set", "r1", "limits.cpu=1")
	h.ok("snapshot", "rename", "r1", "s2", "two")
	h.ok("snapshot", "create", "r2", "s3")
	h.ok("rename", "r2", "r9")
	h.ok("config", "set", "r9", "user.ours=a: b")
}

// another is the directory of files of an LXD that is to be started with nothing in it.
func (l *lxd) another() (disks string) {
	l.t.Helper()
	dir := filepath.Join(l.dir, "again/lxd")
	disks = filepath.Join(dir, "disks")
	if err := errors.Join(os.MkdirAll(disks, 0o711), os.Chmod(dir, 0o711)); err != nil {
		l.t.Fatal(err)
	}
	for i, v := range l.env {
		if strings.HasPrefix(v, "LXD_DIR=") {
			l.env[i] = "LXD_DIR=" + dir
		}
	}
	return disks
}

// recover starts the daemon, with those profiles, and has it recover a pool of which the file is in its place.
func (l *lxd) recover(file string, profiles ...string) (found string) {
	l.t.Helper()
	l.start()
	for _, p := range profiles {
		l.lxc("profile", "create", p)
	}
	pool := strings.TrimSuffix(filepath.Base(file), ".img")
	return l.run("yes\n"+pool+"\nbtrfs\n"+file+"\n\nno\nyes\nyes\n", "lxd", "recover")
}

// recovers lets LXD itself find what is in the file, with what was changed here, and start it.
func (l *lxd) recovers(file string) {
	l.t.Helper()
	disk := filepath.Join(l.another(), "lxd.img")
	if out, err := exec.CommandContext(l.t.Context(), "cp", "--sparse=always", file, disk).CombinedOutput(); err != nil {
		l.t.Fatalf("cp: %v: %s", err, out)
	}
	found := l.recover(disk, "extra")
	for _, want := range []string{`"r1"`, `"r9"`, `"vol1"`} {
		if !strings.Contains(found, want) {
			l.t.Errorf("LXD did not find %s:\n%s", want, found)
		}
	}
	if got := l.lxc("list", "-f", "csv", "-c", "nS"); got != "r1,3\nr9,1\n" {
		l.t.Errorf("LXD has %q", got)
	}
	if got := l.lxc("config", "get", "r9", "user.ours") + l.lxc("config", "get", "r1", "limits.cpu"); got != "a: b\n1\n" {
		l.t.Errorf("what was changed is in LXD %q", got)
	}
	if got := l.lxc("storage", "volume", "list", "lxd", "-f", "csv", "-c", "tn"); !strings.Contains(got, "container (snapshot),r1/two\n") || !strings.Contains(got, "custom (snapshot),vol1/vs1\n") {
		l.t.Errorf("LXD has %q", got)
	}
	l.lxc("start", "r1", "r9")
	if got := l.lxc("exec", "r1", "--", "cat", "/root/mark"); got != "kept\n" {
		l.t.Errorf("the mark in LXD: %q", got)
	}
	l.stop()
}

// adoptOps is the command for the tests that interrupt it. The pool is there as a file of which nobody knows, with an
// instance in it.
func adoptOps() []op {
	file := func(h *host) string { return filepath.Join(h.dir, "p2.img") }
	adopted := func(h *host) bool { return slices.Contains(h.names("pool", "list"), "p2") }
	pristine := func(h *host) string { // made once
		path := filepath.Join(h.dir, "pristine")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		h.ok("pool", "create", "p2", "size=200MiB", "source="+file(h))
		h.ok("init", "bb", "a1", "--storage", "p2")
		h.ok("pool", "detach", "p2")
		if err := os.Rename(file(h), path); err != nil {
			h.t.Fatal(err)
		}
		h.ok("pool", "delete", "p2", "--force")
		return path
	}
	prepare := func(h *host) {
		if out, err := exec.CommandContext(h.t.Context(), "cp", "--sparse=always", pristine(h), file(h)).CombinedOutput(); err != nil {
			h.t.Fatalf("cp: %v: %s", err, out)
		}
	}
	verify := func(h *host) {
		if !adopted(h) {
			h.matches(`a1`, "pool", "inspect", file(h))
			h.ok("pool", "adopt", file(h), "--name", "p2")
		}
		works(h, "a1", "")
		h.ok("pool", "delete", "p2", "--force")
		if _, err := os.Lstat(file(h)); err == nil {
			h.t.Error("the deleted pool's file is there")
		}
	}
	return []op{{name: "pool adopt", prepare: prepare, verify: verify, made: adopted, args: []string{"pool", "adopt", "p2.img", "--name", "p2"}}}
}
