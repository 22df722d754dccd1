package pool

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestLeftOutTold: device nodes do not vanish from an image without a word.
func TestLeftOutTold(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	told := listener(s)
	if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, f.tar}}); err != nil || told() != "" {
		t.Errorf("of a root without any: %v, %q", err, told())
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, hdr := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "./dev/pts/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./dev/fd", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/fd"},
		{Name: "./srv/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./srv/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "./srv/sda", Typeflag: tar.TypeBlock, Mode: 0o660, Devmajor: 8},
	} {
		if err := w.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.tar, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, f.tar}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 device nodes and other files of /dev in the archive were left out", "1 device nodes that would reach the host were left out"} {
		if !strings.Contains(told(), want) {
			t.Errorf("told %q, want %q", told(), want)
		}
	}
}
