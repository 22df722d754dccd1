package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// awkward are names of nested subvolumes as Docker and people make them, and as
// somebody would who wants to break what reads them line by line or as words.
var awkward = []string{
	"with space", " two  spaces ", "new\nline", "tab\tand return\r", "-rf", "--", "ünïcødé 名前", "bytes\xff\xfe", `back\slash`,
	`quote"and'`, "$(touch x)", "*", "..dots", "ID 256 gen 7 top level 5 path x", strings.Repeat("n", 255),
}

// nest makes a subvolume of each awkward name in dir, one read-only, one within
// another, and one deeper than a path can be long; each holds a file.
func nest(t *testing.T, dir string) {
	t.Helper()
	for i, name := range awkward {
		path := filepath.Join(dir, name)
		if err := errors.Join(btrfs.CreateSubvolume(path), os.WriteFile(filepath.Join(path, "data"), []byte(name), 0o644)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			inner := filepath.Join(path, "an inner\none")
			err := errors.Join(btrfs.CreateSubvolume(inner), os.WriteFile(filepath.Join(inner, "data"), []byte("inner"), 0o644), btrfs.SetReadOnly(inner, true))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	atDepth(t, dir, true, func() {
		if err := errors.Join(btrfs.CreateSubvolume("/proc/self/cwd/deep one"), os.WriteFile("deep one/data", []byte("deep"), 0o644)); err != nil {
			t.Fatal(err)
		}
	})
}

// atDepth calls f with a directory 5,000 bytes of path below dir as the working
// directory.
func atDepth(t *testing.T, dir string, create bool, f func()) {
	t.Helper()
	back, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Chdir(back); err != nil {
			t.Fatal(err)
		}
	}()
	if err := os.Chdir(dir); err != nil {
		t.Fatal(err)
	}
	step := strings.Repeat("d ", 100) + "d"
	for range 25 {
		if create {
			err = os.Mkdir(step, 0o755)
		}
		// os.Chdir would ask for the whole path.
		if err := errors.Join(err, unix.Chdir(step)); err != nil {
			t.Fatal(err)
		}
	}
	f()
}

// isNested checks that all that nest made is in dir.
func isNested(t *testing.T, what, dir string) {
	t.Helper()
	check := func(path, want string) {
		if raw, err := os.ReadFile(filepath.Join(path, "data")); string(raw) != want {
			t.Errorf("%s: %q holds %q, %v", what, path, raw, err)
		}
		if is, err := btrfs.IsSubvolume(path); err != nil || !is {
			t.Errorf("%s: %q is no subvolume: %v", what, path, err)
		}
	}
	for _, name := range awkward {
		check(filepath.Join(dir, name), name)
	}
	check(filepath.Join(dir, awkward[0], "an inner\none"), "inner")
	atDepth(t, dir, false, func() { check("/proc/self/cwd/deep one", "deep") })
}

// nested is how many subvolumes nest makes.
var nested = len(awkward) + 2

// TestNestedSubvolumes takes an instance with nested subvolumes, whatever their
// names, through every operation: they are there afterwards wherever the instance
// is, and gone without a trace where it is not.
func TestNestedSubvolumes(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "512MiB"})
	addInstance(t, s, "p", "c1")
	mp := s.dir.MountPoint("p")
	count := func(what string, instances int, rest int) {
		t.Helper()
		if err := s.AttachPool(ctx, "p"); err != nil { // which finishes what is left
			t.Error(err)
		}
		all, err := btrfs.List(mp)
		if want := instances*(nested+1) + rest; err != nil || len(all) != want {
			var paths []string
			for _, v := range all {
				paths = append(paths, v.Path)
			}
			t.Errorf("%s: %d subvolumes, want %d: %q, %v", what, len(all), want, paths, err)
		}
	}
	inside := func(name string) string { return filepath.Join(mp, "containers", name, "rootfs") }
	if err := os.Mkdir(inside("c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	nest(t, inside("c1"))
	count("made", 1, 1) // and the image

	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	must("snapshot", err)
	isNested(t, "snapshot", filepath.Join(mp, "containers-snapshots/c1/s0/rootfs"))
	isNested(t, "after snapshot", inside("c1"))
	count("snapshot", 2, 1)

	// Changes are undone by restore: one is gone, one changed, one new.
	must("change", errors.Join(btrfs.DeleteSubvolume(filepath.Join(inside("c1"), "*")), btrfs.CreateSubvolume(filepath.Join(inside("c1"), "a new\none")),
		os.WriteFile(filepath.Join(inside("c1"), "--/data"), []byte("changed"), 0o644)))
	must("restore", s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}))
	isNested(t, "restore", inside("c1"))
	count("restore", 2, 1)

	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"})
	must("copy", err)
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Snapshot: "s0", Name: "c3"})
	must("copy of a snapshot", err)
	for _, name := range []string{"c1", "c2", "c3"} {
		isNested(t, "copy "+name, inside(name))
	}
	isNested(t, "the copy's snapshot", filepath.Join(mp, "containers-snapshots/c2/s0/rootfs"))
	count("copies", 5, 1)

	for _, ref := range []string{"c1", "c2/s0"} {
		dir, err := s.MountInstance(ctx, ref, "", MountOptions{})
		must("mount "+ref, err)
		if raw, err := os.ReadFile(filepath.Join(dir, "new\nline/data")); string(raw) != "new\nline" {
			t.Errorf("mount %s: %q, %v", ref, raw, err)
		}
		must("umount", s.Unmount(ctx, dir))
	}
	usage, err := s.PoolInfo(ctx, "p")
	if err != nil || usage.Instances != 3 {
		t.Errorf("info: %+v, %v", usage, err)
	}
	if found := diagnosis(t, s, true); len(found) != 0 {
		t.Errorf("doctor: %s", printed(found))
	}
	must("detach", errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p")))

	must("snapshot delete", s.DeleteSnapshot(ctx, "c2", "s0"))
	count("snapshot delete", 4, 1)
	must("delete", s.Delete(ctx, "c1", false))
	must("delete", s.Delete(ctx, "c3", false))
	count("delete", 1, 1)
	isNested(t, "after the others are deleted", inside("c2"))

	// An image can hold them too: one published of such an instance.
	nestedImage(t, s)
	count("image", 2, 1)
	must("image delete", s.DeleteImage(ctx, strings.Repeat("ab", 32)))
	count("image delete", 1, 1)
	must("delete", s.Delete(ctx, "c2", false))
	count("all deleted", 0, 1)
	entries, err := os.ReadDir(filepath.Join(mp, ".poolctl/staging"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left in the staging directory: %v, %v", entries, err)
	}
}

// nestedImage adds an image that has nested subvolumes.
func nestedImage(t *testing.T, s *System) {
	t.Helper()
	ctx := t.Context()
	p, err := s.openPool(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	stage, err := p.StageImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	nest(t, stage.Dir())
	if err := errors.Join(stage.CommitImage(ctx, tree.ImageRecord{Fingerprint: strings.Repeat("ab", 32), Type: "container"}), p.close()); err != nil {
		t.Fatal(err)
	}
}
