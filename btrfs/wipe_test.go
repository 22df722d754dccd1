package btrfs

import (
	"errors"
	"os"
	"testing"
)

// TestWipeSupers: the copy is wiped too, other file systems' superblocks are not.
func TestWipeSupers(t *testing.T) {
	uuid := NewUUID()
	path := newImage(t, 128<<20, MkfsOptions{UUID: uuid})
	if s, err := ReadSuper(path); err != nil || s.UUID != uuid {
		t.Fatalf("mkfs.btrfs made %+v, %v", s, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	if n, err := WipeSupers(f, NewUUID()); err != nil || n != 0 {
		t.Fatalf("another's: %d, %v", n, err)
	}
	if found, err := Supers(f); err != nil || len(found) != 2 || found[0] != uuid || found[1] != uuid {
		t.Fatalf("%v, %v", found, err)
	}
	_, err = f.WriteAt([]byte("!"), superOffset+64) // as mkfs.btrfs leaves it when it is killed
	must(t, err)
	if n, err := WipeSupers(f, uuid); err != nil || n != 2 {
		t.Fatalf("wiped %d, %v", n, err)
	}
	if found, err := Supers(f); err != nil || len(found) != 0 {
		t.Fatalf("left: %v, %v", found, err)
	}
	if _, err := ReadSuper(path); !errors.Is(err, ErrNotBtrfs) {
		t.Fatal(err)
	}
}

func TestMkfsRefusesBadUUID(t *testing.T) {
	if _, err := mkfsArgs(MkfsOptions{UUID: "x"}); err == nil {
		t.Error("taken")
	}
	if a, b := NewUUID(), NewUUID(); !isUUID(a) || a == b || a[14] != '4' {
		t.Errorf("%s, %s", a, b)
	}
}
