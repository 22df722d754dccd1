package btrfs

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// A file system is found while it is mounted, by whom and where ever, and so is
// what the kernel has given a temporary UUID.
func TestActiveOf(t *testing.T) {
	image := newImage(t, 200<<20, MkfsOptions{})
	s, err := ReadSuper(image)
	must(t, err)
	if a, err := ActiveOf(s.UUID); err != nil || a != nil {
		t.Errorf("before it is mounted: %v, %v", a, err)
	}
	mnt := mountImage(t, image)
	a, err := ActiveOf(strings.ToUpper(s.UUID))
	must(t, err)
	var st unix.Stat_t
	info, err := FSInfo(mnt)
	must(t, err)
	must(t, unix.Stat(info.Devices[0].Path, &st))
	if len(a) != 1 || a[0].UUID != s.UUID || a[0].Temporary || !a[0].Has(st.Rdev) || a[0].Has(0) {
		t.Errorf("mounted: %+v", a)
	}

	var fs unix.Statfs_t
	must(t, unix.Statfs(mnt, &fs))
	must(t, CreateSubvolume(mnt+"/sub"))
	var sub, other unix.Statfs_t
	must(t, unix.Statfs(mnt+"/sub", &sub))
	must(t, unix.Statfs("/proc", &other))
	if !IsOn(s.UUID, fs) || !IsOn(s.UUID, sub) || IsOn(s.UUID, other) || IsOn("ffffffff-7e1e-4c07-867b-c673cb7e67f5", fs) || IsOn("", fs) {
		t.Errorf("IsOn: %x %x", fs.Fsid, sub.Fsid)
	}

	copied := image + ".copy"
	run(t, "cp", "--sparse=always", image, copied)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", copied, dir).CombinedOutput(); err != nil {
		t.Logf("this kernel does not mount two file systems of one UUID (before 6.7): %s", out)
		return
	}
	t.Cleanup(func() { testfs.Unmount(t, dir) })
	a, err = ActiveOf(s.UUID)
	must(t, err)
	if len(a) != 2 || a[0].Temporary == a[1].Temporary || a[0].UUID == a[1].UUID {
		t.Errorf("with a mounted copy: %+v", a)
	}
}

func TestActiveOfRefuses(t *testing.T) {
	for _, id := range []string{"", "..", "features"} {
		if a, err := ActiveOf(id); err == nil {
			t.Errorf("ActiveOf(%q): %v", id, a)
		}
	}
}
