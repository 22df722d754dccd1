package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of package cgroup must be run as root: they make cgroups")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestLayoutOf(t *testing.T) {
	mount := func(minor int, fstype, root, at, opts string) *mountinfo.Info {
		return &mountinfo.Info{Minor: minor, FSType: fstype, Root: root, Mountpoint: at, VFSOptions: opts}
	}
	for _, c := range []struct {
		name   string
		mounts []*mountinfo.Info
		want   Layout
	}{
		{"pure v2", []*mountinfo.Info{mount(1, "cgroup2", "/", "/sys/fs/cgroup", "rw,nsdelegate")}, Layout{{Mount: "/sys/fs/cgroup", Unified: true, Sole: true}}},
		{
			"hybrid of systemd",
			[]*mountinfo.Info{
				mount(1, "cgroup2", "/", "/sys/fs/cgroup/unified", "rw"),
				mount(2, "cgroup", "/", "/sys/fs/cgroup/systemd", "rw,xattr,name=systemd"),
				mount(3, "cgroup", "/", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct"),
				mount(3, "cgroup", "/", "/mnt/again", "rw,cpu,cpuacct"),
				mount(4, "cgroup", "/docker/x", "/mnt/part", "rw,memory"),
			},
			Layout{
				{Mount: "/sys/fs/cgroup/unified", Unified: true},
				{Mount: "/sys/fs/cgroup/systemd", Name: "systemd"},
				{Mount: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
			},
		},
		{"none", nil, nil},
	} {
		if d := cmp.Diff(c.want, layoutOf(c.mounts)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

func TestTrackedBy(t *testing.T) {
	l := Layout{{Unified: true}, {Name: "systemd"}}
	for file, want := range map[string]bool{
		"9:name=systemd:/\n4:memory:/x\n0::/\n":        false,
		"9:name=systemd:/user.slice\n0::/\n":           true,
		"9:name=systemd:/\n0::/user.slice/a:b.scope\n": true,
		"9:name=other:/x\n0::/":                        false,
		"":                                             false,
		"0::":                                          true,
		"garbage":                                      false,
	} {
		if got := l.trackedBy(file); got != want {
			t.Errorf("%q: %v", file, got)
		}
	}
}

func TestValidatePath(t *testing.T) {
	for p, ok := range map[string]bool{"/a": true, "/a/b-c.d": true, "/": false, "": false, "a": false, "/a/": false, "/a/../b": false, "/a\nb": false, "/./a": false} {
		if err := ValidatePath(p); (err == nil) != ok {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func FuzzParseCPUStat(f *testing.F) {
	f.Add("usage_usec 12\nuser_usec 1\n")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := parseCPUStat([]byte(s)); err == nil && !strings.Contains(s, "usage_usec") {
			t.Errorf("%q: accepted", s)
		}
	})
}

func FuzzV1Options(f *testing.F) {
	f.Add("rw,xattr,name=systemd")
	f.Fuzz(func(t *testing.T, s string) {
		list, _ := v1Options(s)
		for _, c := range list {
			if c == "" || strings.ContainsAny(c, ",=") {
				t.Errorf("%q: %q", s, list)
			}
		}
	})
}

// testGroup is a group of the test's own, gone afterwards.
func testGroup(t *testing.T) Group {
	t.Helper()
	l, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	g, err := l.Group(fmt.Sprintf("/poolctl-cgtest-%d/%s/x", os.Getpid(), t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
		for _, h := range l {
			if _, err := os.Stat(filepath.Join(h.Mount, fmt.Sprintf("poolctl-cgtest-%d/%s", os.Getpid(), t.Name()))); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a parent is left in %s: %v", h.Mount, err)
			}
		}
	})
	if err := g.Create(1234, 1235); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGroup makes a group, puts a process into it, and removes both.
func TestGroup(t *testing.T) {
	g := testGroup(t)
	if err := g.Create(0, 0); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	for _, h := range g.layout {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(g.dir(h), "cgroup.procs"), &st); err != nil || st.Uid != 1234 || st.Gid != 1235 {
			t.Errorf("%s: owner %d:%d, %v", g.dir(h), st.Uid, st.Gid, err)
		}
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.EnterPID(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if n, err := g.Count(); n != 1 || err != nil {
		t.Errorf("%d processes, %v", n, err)
	}
	st, err := g.Stats()
	if err != nil || st.Processes != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	go func() { _ = cmd.Wait() }() // it is killed
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := g.Remove(ctx); err != nil {
		t.Error(err)
	}
	if g.Exists() {
		t.Error("it still exists")
	}
}

// TestRemoveDeep removes what a hostile instance may have made below its group:
// a tree whose paths are longer than PATH_MAX.
func TestRemoveDeep(t *testing.T) {
	g := testGroup(t)
	h := g.layout[0]
	fd, err := unix.Open(g.dir(h), openDir, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("n", 200)
	for range 40 { // 8000 bytes
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkdirat(fd, "side", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, openDir, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	if err := g.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKillEach kills without cgroup.kill, as on a host without v2.
func TestKillEach(t *testing.T) {
	g := testGroup(t)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.EnterPID(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := g.killEach(); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the process ended by %v", err)
	}
}
