package btrfs

import (
	"errors"
	"os"
	"testing"
)

// btrfs check passes what is whole, finds what is not, and one that is too old for
// a feature says so instead of calling the file system damaged.
func TestCheckFilesystem(t *testing.T) {
	image := newImage(t, 256<<20, MkfsOptions{})
	must(t, CheckFilesystem(t.Context(), image))
	program, err := findProgram("btrfs")
	must(t, err)
	for bits, want := range map[uint64]bool{0: true, 1<<9 | 1: true, 1 << 40: false} { // no version knows the last
		if known, err := knowsFeatures(t.Context(), program, bits); err != nil || known != want {
			t.Errorf("features %#x: %v, %v", bits, known, err)
		}
	}
	must(t, addFeatures(image, 1<<40))
	wantErr(t, "an unknown feature", CheckFilesystem(t.Context(), image), ErrCheckTooOld)

	damaged := newImage(t, 256<<20, MkfsOptions{})
	f, err := os.OpenFile(damaged, os.O_RDWR, 0)
	must(t, err)
	mnt := mountImage(t, damaged)
	info, err := FSInfo(mnt)
	must(t, err)
	extents, err := DevExtents(mnt, info.Devices[0].ID)
	must(t, err)
	for _, e := range extents[1:] { // metadata, both copies
		_, err := f.WriteAt(make([]byte, 1<<20), int64(e.Start))
		must(t, err)
	}
	must(t, f.Close())
	var found *CheckError
	if err := CheckFilesystem(t.Context(), damaged); !errors.As(err, &found) || found.Output == "" {
		t.Errorf("a damaged file system: %v", err)
	}
}

func TestCheckSupers(t *testing.T) {
	image := newImage(t, 256<<20, MkfsOptions{})
	if problems, err := CheckSupers(image, 256<<20); err != nil || len(problems) != 0 {
		t.Errorf("whole: %q, %v", problems, err)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte{1, 2, 3}, 64<<20+200)
	must(t, err)
	if problems, err := CheckSupers(image, 256<<20); err != nil || len(problems) != 1 {
		t.Errorf("a damaged copy: %q, %v", problems, err)
	}
	_, err = f.WriteAt(make([]byte, superSize), 64<<20)
	must(t, err)
	if problems, err := CheckSupers(image, 256<<20); err != nil || len(problems) != 1 {
		t.Errorf("no copy: %q, %v", problems, err)
	}
	must(t, f.Close())
	if problems, err := CheckSupers(image, 50<<20); err != nil || len(problems) != 0 {
		t.Errorf("too small for a copy: %q, %v", problems, err)
	}
}
