package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountPlaces: nothing is mounted in the state directory, or where it would hide it; a directory may be named by a symbolic link, to
// unmount as well.
func TestMountPlaces(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	looks := filepath.Join(s.dir.Root, looksDir)
	ok(t, os.MkdirAll(filepath.Join(looks, "mine"), 0o755))
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(s.dir.Root, link))
	alias := t.TempDir()
	ok(t, bindMount(s.dir.Root, alias, 0))
	t.Cleanup(func() { ok(t, unix.Unmount(alias, 0)) })
	for dir, want := range map[string]string{
		s.dir.Root:                       "hide the state directory",
		filepath.Dir(s.dir.Root):         "hide the state directory",
		link:                             "hide the state directory",
		filepath.Join(s.dir.Root, "run"): "is in the state directory",
		looks:                            "is in the state directory",
		filepath.Join(looks, "mine"):     "is in the state directory",
		filepath.Join(looks, "swept"):    "is in the state directory", // mkdir, and the sweep of this command
		filepath.Join(link, looksDir):    "is in the state directory",
		filepath.Join(alias, looksDir):   "is in the state directory",
	} {
		for what, mount := range map[string]func() (string, error){
			"c1":   func() (string, error) { return s.MountInstance(ctx, "c1", dir, MountOptions{}) },
			"pool": func() (string, error) { return s.MountPool(ctx, "p", dir) },
		} {
			if where, err := mount(); err == nil {
				t.Errorf("%s is mounted at %s: %v", what, dir, s.Unmount(ctx, where))
			} else if !strings.Contains(err.Error(), want) {
				t.Errorf("%s at %s: %v", what, dir, err)
			}
		}
	}
	dir := t.TempDir()
	link = filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(dir, link))
	_, err := s.MountInstance(ctx, "c1", link, MountOptions{})
	ok(t, err, s.Unmount(ctx, link))
	_, err = s.MountPool(ctx, "p", link)
	ok(t, err, s.UnmountPool(ctx, "p", link))
}
