package btrfs

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

func TestMountsOf(t *testing.T) {
	image, other := newImage(t, 200<<20, MkfsOptions{}), newFS(t)
	s, err := ReadSuper(image)
	must(t, err)
	if m, err := MountsOf(s.UUID); err != nil || m != nil {
		t.Errorf("before it is mounted: %v, %v", m, err)
	}
	mnt := mountImage(t, image)
	must(t, CreateSubvolume(mnt+"/sub vol"))
	base := t.TempDir()
	var want []string
	want = append(want, mnt+" /")
	for _, name := range []string{"with space", "new\nline", `back\slash\040`, "tab\tand#hash", "\xff\xfe"} {
		at := base + "/" + name
		must(t, os.Mkdir(at, 0o700))
		src, root := mnt, "/"
		if name == "new\nline" {
			src, root = mnt+"/sub vol", "/sub vol"
		}
		must(t, unix.Mount(src, at, "", unix.MS_BIND, ""))
		t.Cleanup(func() { testfs.Unmount(t, at) })
		want = append(want, at+" "+root)
	}
	mounts, err := MountsOf(strings.ToUpper(s.UUID))
	must(t, err)
	var got []string
	ids := map[int]bool{}
	for _, m := range mounts {
		got = append(got, m.MountPoint+" "+m.Root)
		ids[m.MountID] = true
		if !strings.HasPrefix(m.Source, "/dev/loop") || m.Dev == 0 || m.Dev != mounts[0].Dev || !strings.Contains(m.Options, "user_subvol_rm_allowed") || !strings.HasPrefix(m.Options, "rw") {
			t.Errorf("%+v", m)
		}
	}
	if !slices.Equal(got, want) || len(ids) != len(want) {
		t.Errorf("mounts %q, want %q", got, want)
	}
	info, err := FSInfo(other)
	must(t, err)
	mounts, err = MountsOf(info.UUID)
	must(t, err)
	if len(mounts) != 1 || mounts[0].MountPoint != other {
		t.Errorf("the other file system: %+v", mounts)
	}
}

// A mount whose device node is not there is known by the kernel's name.
func TestDeviceSet(t *testing.T) {
	mnt := newFS(t)
	info, err := FSInfo(mnt)
	must(t, err)
	set, err := devicesOf(info.UUID)
	must(t, err)
	path := info.Devices[0].Path
	if !set.has(path) || !set.has("/nowhere/"+path[len("/dev/"):]) || set.has("/dev/null") || set.has("/nowhere/sda") || set.has("") {
		t.Errorf("%v", set)
	}
}

func TestMountsOfRefuses(t *testing.T) {
	for _, id := range []string{"", "..", "../../../etc", "x5344e10-7e1e-4c07-867b-c673cb7e67f5", "95344e107e1e-4c07-867b-c673cb7e67f5-"} {
		if m, err := MountsOf(id); err == nil {
			t.Errorf("MountsOf(%q): %v", id, m)
		}
	}
}
