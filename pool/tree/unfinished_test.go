package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestDropUnfinished: what a killed writer left is removed where it was found, nothing that is being written, and nothing in a
// volume that has taken the place of the one that was opened.
func TestDropUnfinished(t *testing.T) {
	dir := t.TempDir()
	left := func(volume string) string { return filepath.Join(volume, temporaryName(recordFile)) }
	have := func(volume string, want bool) {
		t.Helper()
		if _, err := os.Lstat(left(volume)); want && err != nil || !want && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want it there: %t", left(volume), err, want)
		}
	}
	path, other := filepath.Join(dir, "c1"), filepath.Join(dir, "staged")
	for _, volume := range []string{path, other} {
		if err := errors.Join(os.Mkdir(volume, 0o700), os.WriteFile(left(volume), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	writer, err := lockVolume(path)
	if err != nil {
		t.Fatal(err)
	}
	dropUnfinished(path)
	have(path, true)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}

	reader, err := os.Open(path)
	if err == nil {
		err = exchange(path, other)
	}
	if err != nil {
		t.Fatal(err)
	}
	if writer, err = lockVolume(path); err != nil { // of what is there now
		t.Fatal(err)
	}
	dropUnfinishedIn(reader)
	have(path, true)
	have(other, false)
	if err := errors.Join(reader.Close(), writer.Close()); err != nil {
		t.Fatal(err)
	}
	dropUnfinished(path)
	have(path, false)
}
