package tarball

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"poolctl/images/compress"
	"poolctl/images/internal/testtree"
)

// entry is one entry of an archive that a test builds.
type entry struct {
	hdr  tar.Header
	body string
}

func build(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.hdr.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
}

func dir(name string, mode int64) entry {
	return entry{hdr: tar.Header{Name: name, Mode: mode, Typeflag: tar.TypeDir}}
}

func link(kind byte, name, target string) entry {
	return entry{hdr: tar.Header{Name: name, Linkname: target, Mode: 0o777, Typeflag: kind}}
}

// extractTo unpacks an uncompressed archive into dir by the given policy.
func extractTo(t testing.TB, dir string, r io.Reader, p Policy, l Limits) (*Extractor, error) {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	budget := NewBudget(l)
	e := New(root, p, budget)
	defer e.Close()
	err = Extract(context.Background(), r, budget, func(name string) (*Extractor, string, error) { return e, name, nil }, false)
	if err == nil {
		err = e.Finish()
	}
	return e, err
}

// extract is extractTo a new directory.
func extract(t testing.TB, archive []byte) (string, error) {
	t.Helper()
	testtree.NeedRoot(t)
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := extractTo(t, dir, bytes.NewReader(archive), Policy{}, Limits{})
	return dir, err
}

// openArchive decompresses the file at path.
func openArchive(t testing.TB, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	head := make([]byte, compress.HeadSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	format := compress.Detect(head[:n])
	if format == compress.Unknown {
		return f // damaged on purpose: what the tar reader says is wanted
	}
	r, err := compress.NewReader(context.Background(), format, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}
