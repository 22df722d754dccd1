package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// sharedMount is a directory that is a shared mount of the host's, with a directory "sub".
func sharedMount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(unix.Mount("", dir, "", unix.MS_SHARED, ""), os.Mkdir(filepath.Join(dir, "sub"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// mountOn mounts a file system with a file on a directory of the host's.
func mountOn(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "late"), "", 0o644)
}

// TestPropagation: what the host mounts below a disk afterwards appears inside where
// that was asked for, at the start and later; never the other way.
func TestPropagation(t *testing.T) {
	dir := sharedMount(t)
	sub := filepath.Join(dir, "sub")
	s := testSpec(t, busyboxRoot(t))
	for _, p := range []string{"", "private", "slave", "rslave", "shared", "unbindable"} {
		s.Disks = append(s.Disks, Disk{Device: "d" + p, Source: dir, Path: "/at/start" + p, Propagation: p})
	}
	inst := start(t, s)
	for _, d := range s.Disks {
		d.Device, d.Path = "hot"+d.Device, "/hot"+d.Path
		if err := inst.AttachDisk(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	mountOn(t, sub)
	ok(t, inst, "cd /; ls -d /at/*/sub/late /hot/at/*/sub/late", "/at/startrslave/sub/late\n/at/startshared/sub/late\n/at/startslave/sub/late\n"+
		"/hot/at/startrslave/sub/late\n/hot/at/startshared/sub/late\n/hot/at/startslave/sub/late\n")
	ok(t, inst, "mkdir /twice; mount -o bind /at/startslave /twice; umount /twice", "")
	refused(t, inst, "mount -o bind /at/startunbindable /twice")
	refused(t, inst, "mount -o bind /hot/at/startunbindable /twice")
	ok(t, inst, "grep -c ' /at/startshared .* shared:[0-9]* master:' /proc/self/mountinfo; grep ' /at/startslave .* shared:' /proc/self/mountinfo || true", "1\n")
	// The other way.
	ok(t, inst, "mount -t tmpfs inside /at/startshared/sub; mount -t tmpfs inside /hot/at/startshared/sub", "")
	if _, err := os.Stat(filepath.Join(sub, "late")); err != nil {
		t.Errorf("the instance has mounted on the host: %v", err)
	}
	for _, d := range s.Disks { // with and without mounts below
		if err := errors.Join(inst.DetachDisk(d.Device), inst.DetachDisk("hot"+d.Device)); err != nil {
			t.Error(err)
		}
	}
	ok(t, inst, "grep -c /at/start /proc/self/mountinfo; ls /at/startslave", "0\n")
}

// TestRecursiveDisk: what is mounted below the source comes along, is as read-only
// as the disk, and goes with it.
func TestRecursiveDisk(t *testing.T) {
	dir := sharedMount(t)
	mountOn(t, filepath.Join(dir, "sub"))
	s := testSpec(t, busyboxRoot(t))
	s.Disks = []Disk{{Device: "tree", Source: dir, Path: "/tree", Recursive: true, ReadOnly: true, Mapped: true}}
	inst := start(t, s)
	if err := inst.AttachDisk(t.Context(), Disk{Device: "r", Source: dir, Path: "/r", Recursive: true, Propagation: "runbindable"}); err != nil {
		t.Fatal(err)
	}
	ok(t, inst, "ls /tree/sub /r/sub; mkdir /twice", "/r/sub:\nlate\n\n/tree/sub:\nlate\n")
	refused(t, inst, "touch /tree/sub/x")
	refused(t, inst, "mount -o remount,bind,rw /tree/sub")
	refused(t, inst, "umount /tree/sub")
	refused(t, inst, "mount -o bind /r/sub /twice")
	if err := errors.Join(inst.DetachDisk("tree"), inst.DetachDisk("r")); err != nil {
		t.Error(err)
	}
	ok(t, inst, "ls /tree /r", "/r:\n\n/tree:\n")
}

// TestBadPropagation: what is none is refused before anything is started.
func TestBadPropagation(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.Disks = []Disk{{Device: "d", Source: t.TempDir(), Path: "/d", Propagation: "sometimes"}}
	if err := Start(t.Context(), s); err == nil {
		t.Error("it was started")
	}
}
