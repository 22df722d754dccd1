package journal

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestFullFileSystem begins and updates an entry where there is no room for a file any more, only for a name: the intent
// is found, and goes with the entry.
func TestFullFileSystem(t *testing.T) {
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("cannot mount a tmpfs (it needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Create(filepath.Join(mnt, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mnt, "journal")
	e := mustBegin(t, dir, args{Name: "first"})
	if target, err := os.Readlink(e.Path(intentFile)); err != nil {
		t.Fatalf("the intent is no link: %q, %v", target, err)
	}
	if err := e.Update(args{Name: "second"}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var got []args
	if err := Recover(context.Background(), dir, collect(&got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]args{{Name: "second"}}, got); diff != "" {
		t.Error(diff)
	}
	if left := entries(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
