package squashfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/images/internal/testtree"
)

// refused says why each fixture's superblock is; "" = accepted.
var refused = map[string]string{
	"gzip.sqfs": "", "lz4.sqfs": "", "lzma.sqfs": "", "lzo.sqfs": "", "xz.sqfs": "", "zstd.sqfs": "", "avm_le.sqfs4": "",
	"avm_be.sqfs4": "big-endian", "zlib_be.sqfs3": "big-endian", "lzma1_be.sqfs3": "big-endian", "lzma_be.sqfs2": "big-endian",
	"zlib_le.sqfs3": "version 3.1", "lzma1_le.sqfs3": "version 3.76", "lzma_le.sqfs2": "version 2.76",
	"empty": "not a squashfs", "fake-avm.sqfs": "big-endian",
}

func TestParseSuperFixtures(t *testing.T) {
	dir := filepath.Join(testtree.Shared(t), "small", "squashfs")
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		want, ok := refused[e.Name()]
		if !ok {
			t.Errorf("%s: a new fixture: say here what it should do", e.Name())
		}
		s, err := ParseSuper(b)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", e.Name(), err, want)
		}
		if name, _, _ := strings.Cut(e.Name(), "."); err == nil && !strings.HasPrefix(name, "avm") && s.Compression.String() != name {
			t.Errorf("%s: compression %s", e.Name(), s.Compression)
		}
	}
}

func validSuper(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testtree.Shared(t), "small", "squashfs", "gzip.sqfs"))
	if err != nil {
		t.Fatal(err)
	}
	return b[:SuperSize]
}

func TestParseSuperDamaged(t *testing.T) {
	for _, tc := range []struct {
		at   int
		b    []byte
		want string
	}{
		{12, []byte{0, 0, 0, 0}, "block size"},
		{12, []byte{0, 0, 0, 0x80}, "block size"},
		{12, []byte{1, 0, 2, 0}, "block size"},
		{20, []byte{7, 0}, "unknown compression 7"},
		{20, []byte{0, 0}, "unknown compression 0"},
		{22, []byte{1, 0}, "logarithm"},
		{4, []byte{0, 0, 0, 0}, "no inodes"},
		{26, []byte{0, 0}, "no inodes or no owners"},
		{28, []byte{5, 0}, "version 5.0"},
		{30, []byte{1, 0}, "version 4.1"},
		{32, []byte{0xff, 0xff}, "root inode"},
		{40, []byte{1, 0, 0, 0, 0, 0, 0, 0}, "length"},
		{40, []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, "length"},
		{48, []byte{0xff, 0xff, 0xff}, "owners"},
		{56, []byte{1, 0}, "extended attributes"},
		{64, []byte{0, 0}, "out of order"},
		{72, []byte{0, 0}, "out of order"},
	} {
		b := append([]byte(nil), validSuper(t)...)
		copy(b[tc.at:], tc.b)
		if _, err := ParseSuper(b); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("at %d: got %v, want %q", tc.at, err, tc.want)
		}
	}
	if _, err := ParseSuper([]byte("hello, world")); !errors.Is(err, ErrNotSquashfs) {
		t.Errorf("got %v", err)
	}
	if _, err := ParseSuper(validSuper(t)[:50]); err == nil {
		t.Error("a cut superblock was accepted")
	}
}

// FuzzParseSuper: what is accepted is sane.
func FuzzParseSuper(f *testing.F) {
	f.Add(validSuper(f))
	f.Add([]byte("hsqs"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSuper(b)
		if err != nil {
			return
		}
		if s.BlockSize < 4096 || s.BlockSize > 1<<20 || s.InodeTable >= s.DirectoryTable || s.IDTable >= s.BytesUsed || s.Inodes == 0 {
			t.Fatalf("accepted %+v", s)
		}
	})
}
