package pool

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSweepLooks: the sweep removes empty directories of poolctl's own, and nothing of what is mounted there, or in their
// place; none at which another command is about to mount something.
func TestSweepLooks(t *testing.T) {
	s := newSystem(t)
	looks := filepath.Join(s.dir.Root, looksDir)
	other := t.TempDir() // as the root of an instance: links, files, empty directories
	fill := func(dir string) {
		ok(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")), os.WriteFile(filepath.Join(dir, "init"), nil, 0o600), os.Mkdir(filepath.Join(dir, "proc"), 0o700))
	}
	fill(other)
	all := names(t, other)

	for what, put := range map[string]func() (take func() error){
		"mount": func() func() error {
			ok(t, os.Mkdir(looks, 0o700), bindMount(other, looks, 0))
			return func() error { return unix.Unmount(looks, 0) }
		},
		"symbolic link": func() func() error {
			ok(t, os.Symlink(other, looks))
			return func() error { return nil }
		},
	} {
		take := put()
		sweepLooks(s.dir)
		if where, err := s.mountLook("c1", "", func(string) error { return nil }); err == nil {
			t.Errorf("%s: %s is made", what, where)
		}
		removeLookDir(s.dir, filepath.Join(looks, "proc"))
		if left := names(t, other); left != all {
			t.Errorf("%s: of %s it leaves %s", what, all, left)
		}
		ok(t, take(), os.Remove(looks))
	}

	where, err := s.mountLook("c1", "", func(place string) error {
		sweepLooks(s.dir) // of another command
		return bindMount(other, place, 0)
	})
	ok(t, err)
	for _, ref := range []string{"c2", "c1/s1", ".."} {
		dir, err := s.mountLook(ref, "", func(string) error { return nil })
		if ok(t, err); filepath.Dir(dir) != looks {
			t.Errorf("for %q it makes %s", ref, dir)
		}
		if _, err := s.mountLook(ref, "", func(string) error { return unix.EIO }); err == nil {
			t.Errorf("%q is mounted at %s", ref, dir)
		}
	}
	if left := names(t, looks); left != "c1" {
		t.Errorf("what could not be mounted leaves %s", left)
	}
	fill(looks)
	sweepLooks(s.dir)
	if left := names(t, looks); left != "bin c1 init" {
		t.Errorf("it leaves %s", left)
	}
	if left := names(t, other); left != all {
		t.Errorf("of what is mounted, %s, it leaves %s", all, left)
	}
	ok(t, unix.Unmount(where, 0))
	sweepLooks(s.dir)
	if left := names(t, looks); left != "bin init" {
		t.Errorf("unmounted, it leaves %s", left)
	}
}
