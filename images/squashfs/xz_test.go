package squashfs

import (
	"bytes"
	"encoding/binary"
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

// xzProgram is what xz(1) makes of content.
func xzProgram(t testing.TB, content []byte, options string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "xz", append([]string{"-cq"}, strings.Fields(options)...)...)
	cmd.Stdin = bytes.NewReader(content)
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// matches is a content of all lengths and distances of matches, with noise between them.
func matches(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := []byte("begin")
	for len(b) < size {
		from := max(len(b)-1-r.IntN(1<<r.IntN(20)), 0)
		for range 1 + r.IntN(1<<r.IntN(9)) {
			b = append(b, b[from])
			from++
		}
		for range r.IntN(1 << r.IntN(4)) {
			b = append(b, byte(r.Uint32()))
		}
	}
	return b[:size]
}

// TestXZStreams: what xz(1) makes is decoded whatever it was asked for, and what is of one block of LZMA2
// not by the general decoder.
func TestXZStreams(t *testing.T) {
	d, err := newXZDecoder(false)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, c := range []struct {
		options string
		simple  bool
	}{
		{"", true},
		{"--check=none", true},
		{"--check=crc32", true},
		{"--check=sha256", false},
		{"-0", true},
		{"-9e", true},
		{"--lzma2=preset=6,lc=0,lp=4,pb=0", true},
		{"--lzma2=preset=6,lc=4,lp=0,pb=4", true},
		{"--lzma2=preset=6,lc=1,lp=2,pb=1", true},
		{"--lzma2=preset=6,mode=fast,mf=hc3,nice=5", true},
		{"-T2 --block-size=2000000", true},
		{"--block-size=10000", false},
		{"--x86 --lzma2", false},
		{"--delta=dist=4 --lzma2", false},
	} {
		for i, want := range append(contents(), matches(1<<20), noise, append(bytes.Clone(noise), contents()[0]...), []byte{1}) {
			src := xzProgram(t, want, c.options)
			got := make([]byte, len(want))
			n, simple := d.simple(got, src)
			if short := len(want) <= 10_000; simple != (c.simple || short && c.options == "--block-size=10000") {
				t.Errorf("%s, content %d: simple is %v", c.options, i, simple)
			} else if simple && !bytes.Equal(got[:n], want) {
				t.Errorf("%s, content %d: other content", c.options, i)
			}
			if n, err := d.decode(got, src); err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%s, content %d: %d bytes, %v", c.options, i, n, err)
			}
			if n, err := d.decode(got[:len(want)-1], src); err == nil {
				t.Errorf("%s, content %d, a byte too little room: %d bytes", c.options, i, n)
			}
		}
	}
}

// TestXZDamaged: a stream that was changed anywhere, or is more or less than one, does not pass, and
// nothing is written behind the end.
func TestXZDamaged(t *testing.T) {
	d, err := newXZDecoder(false)
	if err != nil {
		t.Fatal(err)
	}
	want := matches(3000)
	src := xzProgram(t, want, "--check=crc32")
	changed := 0
	for i := range src {
		for bit := range 8 {
			bad := bytes.Clone(src)
			bad[i] ^= 1 << bit
			buf := bytes.Repeat([]byte{0xee}, 4000)
			if n, ok := d.simple(buf[:3000], bad); ok {
				t.Errorf("bit %d of byte %d changed: accepted, %d bytes", bit, i, n)
			}
			if !bytes.Equal(buf[3000:], bytes.Repeat([]byte{0xee}, 1000)) {
				t.Fatalf("bit %d of byte %d changed: written behind the end", bit, i)
			}
			// The general decoder does not mind a first byte of LZMA that is not 0.
			if n, err := d.decode(buf[:3000], bad); err == nil && !bytes.Equal(buf[:n], want) {
				t.Errorf("bit %d of byte %d changed: %d bytes", bit, i, n)
			}
			changed++
		}
	}
	if n, ok := d.simple(make([]byte, 3000), src); !ok || n != 3000 || changed < 3000 {
		t.Errorf("after %d errors: %d bytes, %v", changed, n, ok)
	}
	for name, b := range map[string][]byte{
		"two streams": append(bytes.Clone(src), src...), "padding": append(bytes.Clone(src), 0, 0, 0, 0),
		"cut": src[:len(src)-1], "headless": src[4:], "empty": nil, "only ends": append(bytes.Clone(src[:12]), src[len(src)-12:]...),
	} {
		if n, ok := d.simple(make([]byte, 3000), b); ok {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

// FuzzXZ: whatever a stream holds, what the simple decoder makes of it is what the general one does.
func FuzzXZ(f *testing.F) {
	f.Add(xzProgram(f, matches(500), "--check=none"))
	f.Add(xzProgram(f, contents()[0][:500], "--check=crc32"))
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := newXZDecoder(false)
		if err != nil {
			t.Fatal(err)
		}
		buf := bytes.Repeat([]byte{0xee}, 9000)
		n, ok := d.simple(buf[:8192], src)
		if !bytes.Equal(buf[8192:], bytes.Repeat([]byte{0xee}, 9000-8192)) {
			t.Fatal("written behind the end")
		}
		if !ok {
			return
		}
		other := make([]byte, 8192)
		d.src.Reset(src)
		if err := d.general.Reset(&d.src); err != nil {
			t.Fatal(err)
		}
		if m, err := readBlock(d.general, other); err != nil || !bytes.Equal(buf[:n], other[:m]) {
			t.Fatalf("%d bytes, in general %d, %v", n, m, err)
		}
	})
}

// TestXZLies: a stream whose index tells another length than it has does not
// pass.
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
		_, err := new(Unpacker).Unpack(t.Context(), r, r, openDir(t, t.TempDir()))
		if (err == nil) != (length == 131072) {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

// TestVouched: the check of an xz block is verified unless the whole file is.
func TestVouched(t *testing.T) {
	testtree.NeedRoot(t)
	b, err := os.ReadFile(pack(t, shell(t, "yes 1 | head -c 131072 > a"), "-comp", "xz", "-no-fragments"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("\xfd7zXZ\x00"))
	end := at + bytes.Index(b[at:], []byte("YZ")) + 2
	index := end - xzFooterSize - (int(binary.LittleEndian.Uint32(b[end-8:]))+1)*4
	b[index-1] ^= 1 // of the CRC32 in front of it
	for _, vouched := range []bool{false, true} {
		dir := t.TempDir()
		r := bytes.NewReader(b)
		_, err := (&Unpacker{Vouched: vouched}).Unpack(t.Context(), r, r, openDir(t, dir))
		if (err == nil) != vouched {
			t.Errorf("vouched %v: %v", vouched, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "a")); vouched && (err != nil || string(got) != strings.Repeat("1\n", 65536)) {
			t.Errorf("it has %d bytes, %v", len(got), err)
		}
	}
}

// BenchmarkXZ decodes a block of a text and of noise, as mksquashfs compresses it.
func BenchmarkXZ(b *testing.B) {
	d, err := newXZDecoder(true)
	if err != nil {
		b.Fatal(err)
	}
	for i, content := range [][]byte{contents()[2], matches(128 << 10)} {
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			src := xzProgram(b, content, "--check=crc32")
			dst := make([]byte, len(content))
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if _, ok := d.simple(dst, src); !ok {
					b.Fatal("not simple")
				}
			}
		})
	}
}
