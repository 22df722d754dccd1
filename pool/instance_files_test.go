package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/runtime/guestfs"
)

// A directory that is named by a symbolic link is pushed, not the link.
func TestPushTree(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	dir := t.TempDir()
	tree, link := filepath.Join(dir, "tree"), filepath.Join(dir, "link")
	ok(t, os.Mkdir(tree, 0o700), os.WriteFile(filepath.Join(tree, "file"), []byte("x"), 0o600), os.Symlink("tree", link))
	f, err := s.OpenFiles(ctx, "c1")
	ok(t, err)
	t.Cleanup(func() { ok(t, f.Close()) }) // before the pool goes
	ok(t, f.PushTree(ctx, link, "/pushed", guestfs.Owner{}))
	info, err := f.Lstat("/pushed")
	if err != nil || !info.Mode.IsDir() {
		t.Errorf("%+v, %v", info, err)
	}
	if in, err := f.ReadDir("/pushed"); err != nil || len(in) != 1 || in[0].Size != 1 {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestPushLongNames: every name that a file system takes is pushed (NAME_MAX is 255), and nothing else is left there.
func TestPushLongNames(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	long := strings.Repeat("n", 255)
	dir := filepath.Join(t.TempDir(), long)
	ok(t, os.MkdirAll(filepath.Join(dir, long), 0o700), os.WriteFile(filepath.Join(dir, long, long), []byte("x"), 0o600))
	f, err := s.OpenFiles(ctx, "c1")
	ok(t, err)
	t.Cleanup(func() { ok(t, f.Close()) }) // before the pool goes
	ok(t, f.Mkdir("/srv", guestfs.Owner{}), f.PushTree(ctx, dir, "/srv/"+long, guestfs.Owner{}))
	if info, err := f.Lstat("/srv/" + long + "/" + long + "/" + long); err != nil || info.Size != 1 {
		t.Errorf("%+v, %v", info, err)
	}
	if in, err := f.ReadDir("/srv"); err != nil || len(in) != 1 {
		t.Errorf("%+v, %v", in, err)
	}
}
