package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestComposeMaps(t *testing.T) {
	host := []IDMap{{0, 100000, 65536}}
	for name, tc := range map[string]struct{ disk, host, want []IDMap }{
		"shifted":            {[]IDMap{{0, 300000, 65536}}, host, []IDMap{{300000, 100000, 65536}}},
		"larger on disk":     {[]IDMap{{0, 300000, 10000001}}, host, []IDMap{{300000, 100000, 65536}}},
		"larger on the host": {[]IDMap{{0, 300000, 1000}}, host, []IDMap{{300000, 100000, 1000}}},
		"the same":           {host, host, []IDMap{{100000, 100000, 65536}}},
		"one id of the user's": {
			[]IDMap{{0, 300000, 1000}, {1000, 1000, 1}, {1001, 301001, 64535}},
			host,
			[]IDMap{{300000, 100000, 1000}, {1000, 101000, 1}, {301001, 101001, 64535}},
		},
		"nothing in common": {[]IDMap{{70000, 1, 5}}, host, nil},
		"up to the last id": {[]IDMap{{1 << 31, 1 << 31, 1<<31 - 1}}, []IDMap{{0, 0, 1<<32 - 1}}, []IDMap{{1 << 31, 1 << 31, 1<<31 - 1}}},
	} {
		if diff := cmp.Diff(tc.want, composeMaps(tc.disk, tc.host)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestUserNamespaceRefuses gives the kernel maps that it does not take: no process may be left.
func TestUserNamespaceRefuses(t *testing.T) {
	if ns, err := UserNamespace([]IDMap{{0, 5, 10}, {3, 50, 10}}, []IDMap{{0, 5, 10}}); err == nil {
		t.Errorf("overlapping ids were taken: %v", ns.Close())
	}
}

// TestShiftedRoot starts an instance whose root has other ids on disk than the image.
func TestShiftedRoot(t *testing.T) {
	const base = 300000
	root := busyboxRoot(t)
	owned := func(path string) (uid, gid uint32) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, path), &st); err != nil {
			t.Fatal(err)
		}
		return st.Uid, st.Gid
	}
	write(t, filepath.Join(root, "root/of-1000"), "x\n", 0o600)
	if err := os.Chown(filepath.Join(root, "root/of-1000"), 1000, 1001); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil {
			err = os.Lchown(path, int(st.Uid)+base, int(st.Gid)+base)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := testSpec(t, root)
	s.DiskUIDMap, s.DiskGIDMap = []IDMap{{0, base, 65536}}, []IDMap{{0, base, 65536}}
	inst := start(t, s)
	script := "stat -c '%u %g' / /root/of-1000; echo y > /root/new; chown 7:8 /root/new; stat -c '%u %g' /root/new"
	if out, code := run(t, inst, "", "sh", "-c", script); code != 0 || out != "0 0\n1000 1001\n7 8\n" {
		t.Errorf("inside: %d, %q", code, out)
	}
	if uid, gid := owned("root/new"); uid != base+7 || gid != base+8 {
		t.Errorf("what was made inside belongs to %d:%d on disk, want %d:%d", uid, gid, base+7, base+8)
	}
	bad := testSpec(t, root)
	bad.DiskUIDMap = []IDMap{{1, base, 65536}}
	if err := Start(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "does not map id 0") {
		t.Errorf("a root without a root was started: %v", err)
	}
}

// TestShiftedDisk mounts a disk that has other ids on disk than the instance.
func TestShiftedDisk(t *testing.T) {
	const base = 300000
	dir := t.TempDir()
	write(t, filepath.Join(dir, "of-1000"), "x\n", 0o600)
	if err := errors.Join(os.Chown(dir, base, base), os.Chown(filepath.Join(dir, "of-1000"), base+1000, base+1001)); err != nil {
		t.Fatal(err)
	}
	s := testSpec(t, busyboxRoot(t))
	s.Disks = []Disk{{Device: "data", Source: dir, Path: "/data", Mapped: true, Shifted: IDMap{0, base, 65536}}}
	inst := start(t, s)
	if out, code := run(t, inst, "", "sh", "-c", "stat -c '%u %g' /data /data/of-1000; echo y > /data/new"); code != 0 || out != "0 0\n1000 1001\n" {
		t.Errorf("inside: %d, %q", code, out)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "new"), &st); err != nil || st.Uid != base || st.Gid != base {
		t.Errorf("what was made inside: %d:%d, %v", st.Uid, st.Gid, err)
	}
}
