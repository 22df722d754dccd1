package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// diskDir is a directory for a disk: a file of root's, one of user 1000's, and a device node.
func diskDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "content\n", 0o644)
	write(t, filepath.Join(dir, "other"), "", 0o644)
	err := errors.Join(os.Chmod(dir, 0o755), os.Chown(filepath.Join(dir, "other"), 1000, 1000),
		unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// ok runs a shell command in the instance that has to write want.
func ok(t *testing.T, inst *Instance, script, want string) {
	t.Helper()
	if out, code := run(t, inst, "", "sh", "-c", script); code != 0 || out != want {
		t.Errorf("%s: %d, %q; want %q", script, code, out, want)
	}
}

// refused runs a shell command in the instance that has to fail.
func refused(t *testing.T, inst *Instance, script string) {
	t.Helper()
	if out, code := run(t, inst, "", "sh", "-c", script+" 2>&1"); code == 0 {
		t.Errorf("%s: it was allowed: %q", script, out)
	}
}

func TestDisks(t *testing.T) {
	root := busyboxRoot(t)
	if err := errors.Join(os.Symlink("/etc", filepath.Join(root, "out")), os.Symlink("../../../../tmp", filepath.Join(root, "up"))); err != nil {
		t.Fatal(err)
	}
	dir, file := diskDir(t), filepath.Join(t.TempDir(), "f")
	write(t, file, "one file\n", 0o644)
	s := testSpec(t, root)
	s.Disks = []Disk{
		{Device: "rw", Source: dir, Path: "/mnt/new dir/rw", Mapped: true},
		{Device: "ro", Source: dir, Path: "/ro", ReadOnly: true, Mapped: true},
		{Device: "raw", Source: dir, Path: "/raw"},
		{Device: "file", Source: file, Path: "/etc/one", Mapped: true},
		{Device: "link", Source: dir, Path: "/out/linked", Mapped: true},
		{Device: "up", Source: dir, Path: "/up/x", Mapped: true},
		{Device: "run", Source: dir, Path: "/dev/shm/deep/er", Mapped: true},
	}
	inst := start(t, s)
	ok(t, inst, `cd "/mnt/new dir/rw"; cat file; stat -c %u:%g file other . ..; echo more >> file; touch made`, "content\n0:0\n1000:1000\n0:0\n0:0\n")
	ok(t, inst, `cat /ro/file /etc/one /etc/linked/file /tmp/x/file /dev/shm/deep/er/file | wc -l; stat -c %u:%g /raw/file`, "9\n65534:65534\n")
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "made"), &st); err != nil || st.Uid != 0 {
		t.Errorf("what root made inside belongs to %d outside: %v", st.Uid, err)
	}
	refused(t, inst, `touch /ro/x`)
	refused(t, inst, `mount -o remount,rw,bind /ro`)
	refused(t, inst, `touch /ro/x`)
	refused(t, inst, `mount -o remount,dev,bind "/mnt/new dir/rw"`)
	refused(t, inst, `cat "/mnt/new dir/rw/null"`)
	refused(t, inst, `touch /raw/x`)
}

func TestHotDisks(t *testing.T) {
	root := busyboxRoot(t)
	if err := os.Symlink("/etc", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	dir := diskDir(t)
	s := testSpec(t, root)
	inst := start(t, s)
	ctx := t.Context()
	for _, d := range []Disk{
		{Device: "rw", Source: dir, Path: "/out/new/rw", Mapped: true},
		{Device: "ro", Source: dir, Path: "/dev/shm/ro", ReadOnly: true, Mapped: true},
	} {
		if err := inst.AttachDisk(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, inst, `cat /etc/new/rw/file /dev/shm/ro/file; stat -c %u:%g /etc/new /dev/shm/ro/other /etc/new/rw/file; touch /etc/new/rw/made; ls -n /etc/new/rw/made | tr -s ' ' | cut -d ' ' -f 3`,
		"content\ncontent\n0:0\n1000:1000\n0:0\n0\n")
	refused(t, inst, `mount -o remount,rw,bind /dev/shm/ro && touch /dev/shm/ro/x`)
	refused(t, inst, `mount -o remount,dev,bind /etc/new/rw && cat /etc/new/rw/null`)
	for what, d := range map[string]Disk{
		"path that is taken": {Device: "x", Source: dir, Path: "/dev/shm/../shm/ro", Mapped: true},
		"file as directory":  {Device: "x", Source: dir, Path: "/etc/passwd", Mapped: true},
		"no such source":     {Device: "x", Source: dir + "/none", Path: "/x"},
		"root":               {Device: "x", Source: dir, Path: "/x/.."},
		"below a file":       {Device: "x", Source: dir, Path: "/etc/passwd/x"},
	} {
		if err := inst.AttachDisk(ctx, d); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	disks, err := inst.Disks()
	if err != nil || len(disks) != 2 {
		t.Errorf("%+v, %v", disks, err)
	}
	testDetach(t, inst, dir)
}

func testDetach(t *testing.T, inst *Instance, dir string) {
	t.Helper()
	busy, code := run(t, inst, "", "sh", "-c", "cd /etc/new/rw; sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
	if code != 0 {
		t.Fatal(busy)
	}
	if err := inst.DetachDisk("rw"); !errors.Is(err, ErrDiskBusy) {
		t.Errorf("detached what is in use: %v", err)
	}
	ok(t, inst, "cat /etc/new/rw/file; kill "+strings.TrimSpace(busy)+"; while kill -0 "+strings.TrimSpace(busy)+" 2>/dev/null; do :; done", "content\n")
	if err := errors.Join(inst.DetachDisk("rw"), inst.DetachDisk("rw"), inst.DetachDisk("none")); err != nil {
		t.Error(err)
	}
	ok(t, inst, "ls /etc/new/rw", "")
	// What the instance mounted over it is not taken away.
	ok(t, inst, "mount -t tmpfs tmpfs /dev/shm/ro", "")
	if err := inst.DetachDisk("ro"); err == nil {
		t.Error("unmounted what the instance mounted")
	}
	ok(t, inst, "umount /dev/shm/ro; umount /dev/shm/ro; ls /dev/shm/ro", "")
	if err := inst.DetachDisk("ro"); err != nil { // the instance did it itself
		t.Error(err)
	}
	if disks, err := inst.Disks(); err != nil || len(disks) != 0 {
		t.Errorf("%+v, %v", disks, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || slices.ContainsFunc(strings.Split(string(mounts), "\n"), func(l string) bool { return strings.Contains(l, dir) }) {
		t.Errorf("mounts on the host: %v", err)
	}
}

// TestDisksAfterReboot: a reboot from inside has the disks that there were last.
func TestDisksAfterReboot(t *testing.T) {
	dir := diskDir(t)
	s := testSpec(t, busyboxRoot(t))
	s.Disks = []Disk{{Device: "a", Source: dir, Path: "/a", Mapped: true}, {Device: "b", Source: dir, Path: "/b", Mapped: true}}
	inst := start(t, s)
	if err := errors.Join(inst.DetachDisk("a"), inst.AttachDisk(t.Context(), Disk{Device: "c", Source: dir, Path: "/c", Mapped: true})); err != nil {
		t.Fatal(err)
	}
	run(t, inst, "", "reboot", "-f") // its exit code depends on who is killed first
	again := afterReboot(t, s, inst)
	ok(t, again, "ls /a 2>/dev/null; cat /b/file /c/file", "content\ncontent\n")
}

// afterReboot waits for another init.
func afterReboot(t *testing.T, s Spec, before *Instance) *Instance {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		again, err := Open(s.RunDir)
		if err != nil {
			continue
		}
		if again.PID() != before.PID() {
			t.Cleanup(func() { _ = again.Close() })
			return again
		}
		_ = again.Close()
	}
	t.Fatal("it did not come back")
	return nil
}

func TestBadDisks(t *testing.T) {
	dir := t.TempDir()
	for what, disks := range map[string][]Disk{
		"relative source": {{Device: "d", Source: "x", Path: "/x"}},
		"relative path":   {{Device: "d", Source: dir, Path: "x"}},
		"root":            {{Device: "d", Source: dir, Path: "/"}},
		"proc":            {{Device: "d", Source: dir, Path: "/proc/"}},
		"twice":           {{Device: "d", Source: dir, Path: "/x"}, {Device: "e", Source: dir, Path: "/x/"}},
		"no source":       {{Device: "d", Source: dir + "/none", Path: "/x"}},
		"loop":            {{Device: "d", Source: dir, Path: "/loop/x"}},
	} {
		t.Run(what, func(t *testing.T) {
			root := busyboxRoot(t)
			if err := os.Symlink("loop", filepath.Join(root, "loop")); err != nil {
				t.Fatal(err)
			}
			s := testSpec(t, root)
			s.Disks = disks
			if err := Start(t.Context(), s); err == nil {
				t.Error("it was started")
			} else {
				t.Log(err)
			}
		})
	}
}
