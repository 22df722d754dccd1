package tarball

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

// TestReaderEnd: an archive ends with its end marker, and with nothing but padding behind it.
func TestReaderEnd(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	if err := errors.Join(w.AddFile("a", []byte("x"), time.Now()), w.AddFile("b", make([]byte, 4096), time.Now()), w.Close()); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	end := len(whole) - 1024
	for what, archive := range map[string][]byte{"whole": whole, "padded": append(bytes.Clone(whole), make([]byte, 10000)...), "one block of the marker": whole[:end+512]} {
		if n, err := readArchive(t, archive); n != 2 || err != nil {
			t.Errorf("%s: %d entries, %v", what, n, err)
		}
	}
	for what, archive := range map[string][]byte{
		"no marker": whole[:end], "in the padding": whole[:end-10], "in a file": whole[:end-2000], "empty": nil, "junk behind it": append(bytes.Clone(whole), 'x'), "after the first entry": whole[:bytes.Index(whole, []byte("b\x00"))],
	} {
		if n, err := readArchive(t, archive); err == nil {
			t.Errorf("%s: %d entries", what, n)
		}
	}
}

func readArchive(t *testing.T, archive []byte) (n int, err error) {
	t.Helper()
	r := NewReader(bytes.NewReader(archive))
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return n, r.ReadEnd(t.Context())
		} else if err != nil {
			return n, err
		}
		n++
	}
}
