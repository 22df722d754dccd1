package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMountPlaces: nothing is mounted where it would hide the state directory; a directory may be named by a symbolic link, to unmount
// as well.
func TestMountPlaces(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	own := filepath.Join(s.dir.Root, looksDir, "mine")
	ok(t, os.MkdirAll(own, 0o755))
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(s.dir.Root, link))
	for _, dir := range []string{s.dir.Root, filepath.Dir(s.dir.Root), filepath.Join(s.dir.Root, "pools"), link} {
		for what, mount := range map[string]func() (string, error){
			"c1":   func() (string, error) { return s.MountInstance(ctx, "c1", dir, MountOptions{}) },
			"pool": func() (string, error) { return s.MountPool(ctx, "p", dir) },
		} {
			if where, err := mount(); err == nil {
				t.Errorf("%s is mounted at %s: %v", what, dir, s.Unmount(ctx, where))
			} else if !strings.Contains(err.Error(), "hide the state directory") {
				t.Errorf("%s at %s: %v", what, dir, err)
			}
		}
	}
	_, err := s.MountInstance(ctx, "c1", own, MountOptions{})
	ok(t, err, s.Unmount(ctx, own))

	dir := t.TempDir()
	link = filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(dir, link))
	_, err = s.MountInstance(ctx, "c1", link, MountOptions{})
	ok(t, err, s.Unmount(ctx, link))
	_, err = s.MountPool(ctx, "p", link)
	ok(t, err, s.UnmountPool(ctx, "p", link))
}
