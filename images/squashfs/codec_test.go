package squashfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
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
			d, err := newDecoder(c, 131072)
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
	if _, err := newDecoder(9, 131072); err == nil {
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
		d, err := newDecoder(Compression(c), 8192)
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

// TestXZForms: of the streams that xz(1) makes those with other filters, checks or several
// blocks decode as well, and what is around or within the stream and does not belong there is found.
func TestXZForms(t *testing.T) {
	want := append(contents()[0], contents()[3][:20_000]...)
	plain := xzProgram(t, want, "--check=crc32")
	forms := map[string][]byte{
		"as mksquashfs": plain, "crc64": xzProgram(t, want, "--check=crc64"), "no check": xzProgram(t, want, "--check=none"),
		"sha256": xzProgram(t, want, "--check=sha256"), "bcj": xzProgram(t, want, "--check=crc32", "--x86", "--lzma2"),
		"blocks":      xzProgram(t, want, "--check=crc32", "--block-size=20000"),
		"with length": xzProgram(t, want, "--check=crc32", "--threads=2", "--block-size=200000"),
		"lc and lp":   xzProgram(t, want, "--check=crc32", "--lzma2=lc=1,lp=3,pb=0"),
		"stored":      xzProgram(t, noise(100_000), "--check=crc32"),
	}
	for name, src := range forms {
		content := want
		if name == "stored" {
			content = noise(100_000)
		}
		dst := make([]byte, 131072)
		x := &xzDecoder{}
		if n, err := x.decode(dst, src); err != nil || !bytes.Equal(dst[:n], content) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if own := name != "crc64" && name != "no check" && name != "sha256" && name != "bcj" && name != "blocks"; own != (x.other == nil) {
			t.Errorf("%s: decoded here: %v", name, own)
		}
	}
	for i := range plain {
		bad := bytes.Clone(plain)
		bad[i] ^= 0x10
		// The first byte for the range coder, which has to be 0, the library does not look at.
		dst := make([]byte, 131072)
		if n, err := new(xzDecoder).decode(dst, bad); err == nil && (i != 30 || !bytes.Equal(dst[:n], want)) {
			t.Fatalf("byte %d of %d changed: %d bytes", i, len(plain), n)
		}
	}
}

// xzProgram is what xz(1) makes of content.
func xzProgram(t *testing.T, content []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xz", append([]string{"-c", "-q"}, args...)...)
	cmd.Stdin = bytes.NewReader(content)
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz %v: %v", args, err)
	}
	return b
}

// noise cannot be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// TestXZLies: a stream whose index tells another length than it has does not pass.
func TestXZLies(t *testing.T) {
	testtree.NeedRoot(t)
	tree := shell(t, "yes 1 | head -c 131072 > a; yes 2 | head -c 131072 > b; yes 3 | head -c 131072 > c")
	b, err := os.ReadFile(pack(t, tree, "-comp", "xz", "-no-fragments"))
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []uint64{131072, 131071, 100_000, 70_000} {
		lie := bytes.Clone(b)
		at := bytes.Index(lie, []byte("\xfd7zXZ\x00"))
		end := at + bytes.Index(lie[at:], []byte("YZ")) + 2
		foot := lie[end-12:]
		size := (int(binary.LittleEndian.Uint32(foot[4:])) + 1) * 4
		index := lie[end-12-size : end-12]
		_, n := binary.Uvarint(index[2:])
		if m := binary.PutUvarint(index[2+n:], length); m != 3 {
			t.Fatal("another length of the index")
		}
		binary.LittleEndian.PutUint32(index[size-4:], crc32.ChecksumIEEE(index[:size-4]))
		r := bytes.NewReader(lie)
		if _, err := (&Unpacker{}).Unpack(t.Context(), r, r, openDir(t, t.TempDir())); (err == nil) != (length == 131072) {
			t.Errorf("length %d: %v", length, err)
		}
	}
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
			_, err := (&Unpacker{}).Unpack(t.Context(), r, r, openDir(t, t.TempDir()))
			if checked := name == "gzip" || name == "xz"; checked && err == nil {
				t.Errorf("%s: byte %d changed: accepted", name, i)
			}
			if err != nil && errors.Is(err, context.Canceled) {
				t.Errorf("%s: byte %d: %v", name, i, err)
			}
		}
	}
}

// BenchmarkXZ decodes blocks of a program, which are about what most of an image is; the
// xz program does the same beside it, as one process for all of them.
func BenchmarkXZ(b *testing.B) {
	testtree.NeedRoot(b)
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	var blocks [][]byte
	size := 0
	for ; len(program) > 0 && len(blocks) < 40; program = program[min(len(program), 131072):] {
		blocks = append(blocks, compressed(b, "xz", program[:min(len(program), 131072)]))
		size += min(len(program), 131072)
	}
	b.Run("decoder", func(b *testing.B) {
		b.SetBytes(int64(size))
		d, dst := &xzDecoder{}, make([]byte, 131072)
		for b.Loop() {
			for _, src := range blocks {
				if _, err := d.decode(dst, src); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("program", func(b *testing.B) {
		b.SetBytes(int64(size))
		all := bytes.Join(blocks, nil)
		for b.Loop() {
			cmd := exec.CommandContext(b.Context(), "xz", "-dcT1")
			cmd.Stdin = bytes.NewReader(all)
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
