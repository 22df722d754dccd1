package squashfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/images/internal/testtree"
)

// compressions with a writer in mksquashfs.
func compressions() map[string]Compression {
	return map[string]Compression{"gzip": Gzip, "lzma": LZMA, "lzo": LZO, "xz": XZ, "lz4": LZ4, "zstd": Zstd}
}

// compressed is content (of at most 128 KiB) as mksquashfs compresses it.
func compressed(t testing.TB, compression string, content []byte) []byte {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	openDir(t, tree)
	if err := os.WriteFile(tree+"/f", content, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pack(t, tree, "-comp", compression, "-no-fragments"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSuper(b)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := readTables(s, b[s.InodeTable:s.BytesUsed])
	if err != nil {
		t.Fatal(err)
	}
	files, err := ts.walk(context.Background(), Limits{})
	if err != nil || len(files.pieces) != 1 || files.pieces[0].size&plainBlock != 0 {
		t.Fatalf("%v: not one compressed block", err)
	}
	p := files.pieces[0]
	return b[p.start : p.start+uint64(p.size)]
}

// contents are what blocks hold: texts with near and far repetitions, and runs.
func contents() [][]byte {
	var text bytes.Buffer
	for i := 0; text.Len() < 100_000; i++ {
		fmt.Fprintf(&text, "line %d of a text, %x\n", i, crc32.ChecksumIEEE([]byte{byte(i)}))
	}
	far := append(bytes.Clone(text.Bytes()[:50_000]), text.Bytes()[:50_000]...)
	mixed := bytes.Clone(text.Bytes())
	for i := range 20_000 {
		mixed[30_000+i] = byte(crc32.ChecksumIEEE([]byte{byte(i), byte(i >> 8)}))
	}
	return [][]byte{text.Bytes(), far, mixed, bytes.Repeat([]byte{7}, 131072-1), bytes.Repeat([]byte("ab"), 20000), []byte(strings.Repeat("a", 200) + "b")}
}

// TestDecoders: every compression gives what went in, no more than may come out,
// and an error for what is cut or damaged.
func TestDecoders(t *testing.T) {
	testtree.NeedRoot(t)
	for name, c := range compressions() {
		t.Run(name, func(t *testing.T) {
			d, err := newDecoder(c, 131072, false)
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			for i, want := range contents() {
				src := compressed(t, name, want)
				dst := make([]byte, 131072)
				if n, err := d.decode(dst, src); err != nil || !bytes.Equal(dst[:n], want) {
					t.Fatalf("content %d: %d bytes, %v", i, n, err)
				}
				exact := make([]byte, len(want))
				if n, err := d.decode(exact, src); err != nil || n != len(want) {
					t.Errorf("content %d, no more room than needed: %d bytes, %v", i, n, err)
				}
				if n, err := d.decode(make([]byte, len(want)-1), src); err == nil {
					t.Errorf("content %d, a byte too little room: %d bytes", i, n)
				}
				for cut := 0; cut < len(src); cut += 1 + len(src)/50 {
					if n, err := d.decode(dst, src[:cut]); err == nil && n == len(want) {
						t.Errorf("content %d cut at %d of %d: accepted", i, cut, len(src))
					}
				}
				if n, err := d.decode(dst, src); err != nil || !bytes.Equal(dst[:n], want) {
					t.Fatalf("content %d after errors: %d bytes, %v", i, n, err)
				}
			}
		})
	}
	if _, err := newDecoder(9, 131072, false); err == nil {
		t.Error("compression 9 has a decoder")
	}
}

// FuzzDecoders: whatever a block holds, it decodes within its bounds.
func FuzzDecoders(f *testing.F) {
	testtree.NeedRoot(f)
	for name, c := range compressions() {
		f.Add(uint8(c), compressed(f, name, contents()[0][:3000]))
	}
	f.Fuzz(func(t *testing.T, c uint8, src []byte) {
		d, err := newDecoder(Compression(c), 8192, false)
		if err != nil {
			return
		}
		defer d.close()
		buf := bytes.Repeat([]byte{0xee}, 9000)
		if n, err := d.decode(buf[:8192], src); err == nil && n > 8192 {
			t.Fatalf("%d bytes", n)
		}
		if !bytes.Equal(buf[8192:], bytes.Repeat([]byte{0xee}, 9000-8192)) {
			t.Fatal("written past the end")
		}
	})
}

// TestDamagedBlocks: a changed byte of a block is found where the compression has
// a checksum, and never leads outside where it has none.
func TestDamagedBlocks(t *testing.T) {
	testtree.NeedRoot(t)
	for name := range compressions() {
		tree := filepath.Join(t.TempDir(), "tree")
		openDir(t, tree)
		for i, content := range contents() {
			if err := os.WriteFile(fmt.Sprint(tree, "/", i), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(pack(t, tree, "-comp", name))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSuper(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := uint64(200); i < s.InodeTable; i += 1 + s.InodeTable/9 {
			bad := bytes.Clone(b)
			bad[i] ^= 0x55
			r := bytes.NewReader(bad)
			_, err := new(Unpacker).Unpack(t.Context(), r, r, openDir(t, t.TempDir()))
			if checked := name == "gzip" || name == "xz"; checked && err == nil {
				t.Errorf("%s: byte %d changed: accepted", name, i)
			}
			if err != nil && errors.Is(err, context.Canceled) {
				t.Errorf("%s: byte %d: %v", name, i, err)
			}
		}
	}
}
