package pool

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Another file that has taken the place of a pool's file is the user's: deleting
// the pool leaves it alone, attached or not.
func TestDeletePoolLeavesOtherFile(t *testing.T) {
	for _, attached := range []bool{true, false} {
		s := newSystem(t)
		ctx := t.Context()
		createPool(t, s, "p", nil)
		if !attached {
			if err := s.DetachPool(ctx, "p"); err != nil {
				t.Fatal(err)
			}
		}
		img := s.dir.DiskFile("p")
		if err := os.Rename(img, img+".kept"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(img, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.DeletePool(ctx, "p", false); err == nil {
			t.Errorf("attached %v: a pool whose file is another one was deleted without force", attached)
		}
		if err := s.DeletePool(ctx, "p", true); err != nil {
			t.Errorf("attached %v: %v", attached, err)
		}
		if raw, err := os.ReadFile(img); string(raw) != "precious" {
			t.Errorf("attached %v: the other file: %q, %v", attached, raw, err)
		}
		if _, err := s.Pool(ctx, "p"); !errors.Is(err, ErrNotFound) {
			t.Errorf("attached %v: after delete: %v", attached, err)
		}
	}
}

// While a pool is attached, its mount keeps a file alive that has been removed:
// detaching it would be the end of everything in it.
func TestDetachKeepsRemovedFile(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")
	if err := os.Remove(img); err != nil {
		t.Fatal(err)
	}
	err := s.DetachPool(ctx, "p")
	var hinted interface{ Hint() string }
	if err == nil || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "/dev/loop") {
		t.Fatalf("DetachPool of a pool whose file was removed: %v", err)
	}
	if attached, err := s.PoolInfo(ctx, "p"); err != nil || !attached.Attached {
		t.Errorf("after that: %+v, %v", attached, err)
	}
	if err := s.DeletePool(ctx, "p", true); err != nil {
		t.Error(err)
	}
}

// A file that was only renamed is still there: its pool can be detached.
func TestDetachOfRenamedFile(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")
	if err := os.Rename(img, img+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Error(err)
	}
	if err := os.Rename(img+".moved", img); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Error(err)
	}
}
