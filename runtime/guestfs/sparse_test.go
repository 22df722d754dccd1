package guestfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCopyContent(t *testing.T) {
	const size = 1 << 40
	for name, places := range map[string][]int64{
		"empty": nil, "at the begin": {0}, "in between": {1 << 30, 1 << 35}, "at the end": {size - 4}, "everywhere": {0, 1 << 20, 1 << 39, size - 4},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := create(t, filepath.Join(dir, "from")), create(t, filepath.Join(dir, "to"))
			if err := from.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for _, at := range places {
				if _, err := from.WriteAt([]byte("data"), at); err != nil {
					t.Fatal(err)
				}
			}
			if err := CopyContent(t.Context(), to, from); err != nil {
				t.Fatal(err)
			}
			info, err := to.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || info.Size() != size || st.Blocks*512 > 1<<20 {
				t.Errorf("the copy has %d bytes and takes %d", info.Size(), st.Blocks*512)
			}
			for _, at := range places {
				got := make([]byte, 4)
				if _, err := to.ReadAt(got, at); err != nil && !errors.Is(err, io.EOF) || string(got) != "data" {
					t.Errorf("at %d: %q, %v", at, got, err)
				}
			}
		})
	}
}

func TestCopyContentOfProc(t *testing.T) {
	from, err := os.Open("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	path := filepath.Join(t.TempDir(), "to")
	if err := CopyContent(t.Context(), create(t, path), from); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want, werr := os.ReadFile("/proc/version"); err != nil || werr != nil || string(got) != string(want) {
		t.Errorf("copied %q of %q: %v, %v", got, want, err, werr)
	}
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}
