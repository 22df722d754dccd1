package qcow2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/images/internal/testtree"
)

// run runs a program that the test needs.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// rawDisk writes a disk of n bytes with data, text, zeros and holes in places that
// fit no cluster.
func rawDisk(t testing.TB, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(n); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for off := int64(0); off < n; off += rng.Int64N(n/20) + 1 {
		b := make([]byte, min(rng.Int64N(n/25)+1, n-off))
		switch rng.IntN(3) {
		case 0:
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
		case 1:
			copy(b, strings.Repeat("text that compresses ", len(b)/21+1))
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		off += int64(len(b))
	}
	return path
}

// readOnly hides that a reader can read elsewhere.
type readOnly struct{ io.Reader }

// convert converts a file, read ahead or stored first.
func convert(t testing.TB, b []byte, ahead bool, l Limits) (*os.File, int64, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	c := Converter{TempDir: t.TempDir(), Limits: l}
	var at io.ReaderAt
	if ahead {
		at = bytes.NewReader(b)
	}
	size, err := c.Convert(context.Background(), readOnly{bytes.NewReader(b)}, at, out)
	return out, size, err
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestConvert: what qemu-img writes in all its ways comes out as it went in, in a
// file with holes.
func TestConvert(t *testing.T) {
	const size = 9<<20 + 512*5 // ends in the middle of a cluster
	raw := rawDisk(t, size)
	want := readFile(t, raw)
	small := rawDisk(t, 1<<20)
	for _, options := range []string{
		"compat=1.1", "compat=0.10", "compat=1.1,cluster_size=512", "compat=1.1,cluster_size=2M", "compat=0.10,cluster_size=4k",
		"-c compat=1.1", "-c compat=0.10", "-c compat=1.1,compression_type=zstd", "-c compat=1.1,compression_type=zstd,cluster_size=512",
		"-c compat=1.1,cluster_size=2M", "-c compat=1.1,cluster_size=512", "compat=1.1,lazy_refcounts=on,refcount_bits=1",
		"compat=1.1,preallocation=metadata", "compat=1.1,preallocation=full",
	} {
		t.Run(options, func(t *testing.T) {
			from, want := raw, want
			if strings.Contains(options, "=512") { // very many clusters
				from, want = small, readFile(t, small)
			}
			path := filepath.Join(t.TempDir(), "disk.qcow2")
			args := []string{"convert", "-f", "raw", "-O", "qcow2", "-S", "4k"}
			o, compress := strings.CutPrefix(options, "-c ")
			if compress {
				args = append(args, "-c")
			}
			run(t, "qemu-img", append(args, "-o", o, from, path)...)
			for _, ahead := range []bool{true, false} {
				out, n, err := convert(t, readFile(t, path), ahead, Limits{})
				if err != nil {
					t.Fatalf("read ahead %v: %v", ahead, err)
				}
				got := readFile(t, out.Name())
				if n != int64(len(want)) || !bytes.Equal(got, want) {
					t.Fatalf("read ahead %v: %d bytes of %d, other ones", ahead, n, len(want))
				}
				if holes := exec.Command("sh", "-c", `[ $(($(stat -c %b*512 "$1"))) -lt $(stat -c %s "$1") ]`, "sh", out.Name()).Run(); holes != nil {
					t.Error("it has no holes")
				}
			}
		})
	}
}

// TestConvertUsed: an image that was written to and trimmed by QEMU has zero
// clusters, and clusters in another order; internal snapshots do not count.
func TestConvertUsed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	run(t, "qemu-img", "create", "-f", "qcow2", path, "64M")
	io := func(commands ...string) {
		args := []string{"-f", "qcow2"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		run(t, "qemu-io", append(args, path)...)
	}
	io("write -P 1 40M 1M", "write -P 2 3k 200k", "write -P 3 10M 3M")
	run(t, "qemu-img", "snapshot", "-c", "before", path)
	io("write -z 11M 512k", "discard 10M 128k", "write -P 4 40M 64k", "write -P 5 63M 1M", "write -z -u 12M 64k")
	raw := filepath.Join(dir, "want")
	run(t, "qemu-img", "convert", "-O", "raw", path, raw)
	for _, ahead := range []bool{true, false} {
		out, _, err := convert(t, readFile(t, path), ahead, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(readFile(t, out.Name()), readFile(t, raw)) {
			t.Errorf("read ahead %v: it is another disk", ahead)
		}
	}
}

// TestRefused: what needs more than the file, what is damaged and what is too much
// is refused for what it is, and no other file is opened.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", rawDisk(t, 3<<20), path)
	good := readFile(t, path)
	shared := filepath.Join(testtree.Shared(t), "small/qcow2")
	made := func(args ...string) []byte {
		t.Helper()
		p := filepath.Join(t.TempDir(), "made")
		run(t, "qemu-img", append(append([]string{"create", "-q", "-f", "qcow2"}, args...), p, "8M")...)
		return readFile(t, p)
	}
	put32 := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	put64 := func(at int, v uint64) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint64(b[at:], v)
		return b
	}
	l1 := int(binary.BigEndian.Uint64(good[40:]))
	l2 := int(binary.BigEndian.Uint64(good[l1:]) & entryOffset)
	data := binary.BigEndian.Uint64(good[l2:])
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"backing file":             {readFile(t, filepath.Join(shared, "cirros-snapshot1.qcow2")), "backing file"},
		"backing file of the host": {made("-u", "-F", "raw", "-b", secret), "backing file"},
		"backing name only":        {put32(16, 5), "backing file"},
		"large memory":             {readFile(t, filepath.Join(shared, "invalid-qcow-large-memory.img")), ""},
		"external data":            {made("-o", "data_file="+filepath.Join(t.TempDir(), "data")), "in another file"},
		"subclusters":              {made("-o", "extended_l2=on"), "subclusters"},
		"encrypted":                {put32(32, 2), "encrypted"},
		"AES":                      {put32(32, 1), "encrypted"},
		"damaged":                  {put64(72, featureCorrupt), "marked as damaged"},
		"unknown feature":          {put64(72, 1<<17), "unknown feature 17"},
		"version 1":                {put32(4, 1), "version 1"},
		"version 4":                {put32(4, 4), "version 4"},
		"header length":            {put32(100, 10), "cannot have 10 bytes"},
		"compression":              {append(append(bytes.Clone(put64(72, featureCompression))[:104], 9), good[105:]...), "compression type 9"},
		"compression unsaid":       {append(append(bytes.Clone(good[:104]), 1), good[105:]...), "contradicts"},
		"tiny clusters":            {put32(20, 8), "2^8"},
		"huge clusters":            {put32(20, 22), "2^22"},
		"clusters without end":     {put32(20, 1<<31), "2^2147483648"},
		"huge disk":                {put64(24, 1<<41), "1 entries for a disk that needs 4096"},
		"endless disk":             {put64(24, 1<<63), "not possible"},
		"short first table":        {put32(36, 0), "0 entries"},
		"no first table":           {put64(40, 0), "missing"},
		"long first table":         {put32(36, 1<<20), "outside of the file"},
		"no disk":                  {put64(24, 0), "no size"},
		"first table outside":      {put64(40, 1<<40), "cut short"},
		"first table odd":          {put64(40, 1<<16+8), "cannot be at"},
		"first table far":          {put64(40, 1<<63), "cannot be at"},
		"second table outside":     {put64(l1, 1<<40), "cut short"},
		"second table odd":         {put64(l1, uint64(l2)+512), "cannot be at"},
		"second table in header":   {put64(l1, 0x200), "cannot be at"},
		"second is first table":    {put64(l1, uint64(l1)), ""},
		"cluster outside":          {put64(l2, 1<<40), "cut short"},
		"cluster odd":              {put64(l2, data+512), "cannot be at"},
		"cluster twice":            {put64(l2+8, data), "two meanings"},
		"cluster in table":         {put64(l2, uint64(l2)), "two meanings"},
		"cluster in first table":   {put64(l2, uint64(l1)), "two meanings"},
		"not compressed":           {put64(l2, entryCompressed|data), ""},
		"compressed in header":     {put64(l2, entryCompressed|100), "two meanings"},
		"compressed outside":       {put64(l2, entryCompressed|1<<40), "cut short"},
		"empty":                    {nil, "no qcow2"},
		"short":                    {good[:50], "cut short"},
		"header only":              {good[:112], "cut short"},
		"half":                     {good[:len(good)/2], "cut short"},
		"raw":                      {make([]byte, 4096), "no qcow2"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, ahead := range []bool{true, false} {
				out, _, err := convert(t, tc.b, ahead, Limits{})
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("read ahead %v: got %v, want ...%s...", ahead, err, tc.want)
				}
				if bytes.Contains(readFile(t, out.Name()), []byte("secret")) {
					t.Error("another file was read")
				}
			}
		})
	}
	if _, _, err := convert(t, good, true, Limits{VirtualSize: 1 << 20}); err == nil || !strings.Contains(err.Error(), "limit of 1048576 bytes of a disk") {
		t.Errorf("a large disk: %v", err)
	}
	if _, _, err := convert(t, good, false, Limits{Bytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), "limit of 1048576 bytes") {
		t.Errorf("a long file: %v", err)
	}
}

// TestLayoutLimit: a file whose tables name too many pieces is refused at the
// limit, and the tables of a huge disk with small clusters are.
func TestLayoutLimit(t *testing.T) {
	h := Header{Version: 3, ClusterBits: 9, Size: maxL1*64*512 + 512, L1Size: maxL1 + 1, L1Offset: 512}
	if err := h.checkL1(); err == nil || !strings.Contains(err.Error(), "limit of 1048576 second tables") {
		t.Errorf("got %v", err)
	}
	h = Header{Version: 3, ClusterBits: 21, Size: 1 << 42, L1Size: 8, L1Offset: 1 << 21}
	if err := h.checkL1(); err != nil {
		t.Fatal(err)
	}
	_, err := readLayout(t.Context(), h, scattered{}, 0)
	var le *LimitError
	if !errors.As(err, &le) {
		t.Errorf("got %v", err)
	}
}

// scattered has tables everywhere, whose entries are never in a row.
type scattered struct{}

func (scattered) ReadAt(p []byte, off int64) (int, error) {
	for i := 0; i < len(p); i += 8 {
		binary.BigEndian.PutUint64(p[i:], uint64((off/8+int64(i))<<22)&entryOffset)
	}
	return len(p), nil
}

// TestChanged: tables that are others when their turn comes are refused.
func TestChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", rawDisk(t, 3<<20), path)
	good := readFile(t, path)
	l1 := int(binary.BigEndian.Uint64(good[40:]))
	l2 := int(binary.BigEndian.Uint64(good[l1:]) & entryOffset)
	for _, at := range []int{l1 + 7, l2 + 9, l2 + 65535} {
		other := bytes.Clone(good)
		other[at] ^= 1
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		c := Converter{TempDir: t.TempDir()}
		_, err = c.Convert(t.Context(), readOnly{bytes.NewReader(other)}, bytes.NewReader(good), out)
		if err == nil || !strings.Contains(err.Error(), "changed") {
			t.Errorf("byte %d: %v", at, err)
		}
		_ = out.Close()
	}
}

// TestBroken: the source's own error comes out, and a cancelled context's.
func TestBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	run(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", rawDisk(t, 3<<20), path)
	good := readFile(t, path)
	boom := errors.New("boom")
	for _, n := range []int{10, 200, len(good) / 2} {
		for _, at := range []io.ReaderAt{nil, bytes.NewReader(good)} {
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			c := Converter{TempDir: t.TempDir()}
			_, err = c.Convert(t.Context(), io.MultiReader(bytes.NewReader(good[:n]), failing{boom}), at, out)
			if !errors.Is(err, boom) {
				t.Errorf("breaks at %d: %v", n, err)
			}
			_ = out.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := Converter{TempDir: t.TempDir()}
	if _, err := c.Convert(ctx, bytes.NewReader(good), bytes.NewReader(good), out); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte(Magic))
	f.Add(tiny())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err == nil && (h.Size < 0 || h.Size%512 != 0 || h.tables() > maxL1 || h.cluster() < 512 || h.cluster() > 2<<20 || h.L1Offset <= 0 && h.Size > 0) {
			t.Errorf("%+v from %q", h, b)
		}
	})
}

// tiny is a qcow2 of four clusters of 512 bytes: header, both tables, data.
func tiny() []byte {
	b := make([]byte, 4*512)
	copy(b, Magic)
	for at, v := range map[int]uint32{4: 3, 20: 9, 36: 1, 100: 104} {
		binary.BigEndian.PutUint32(b[at:], v)
	}
	for at, v := range map[int]uint64{24: 4096, 40: 512, 512: 1024, 1024 + 16: 1536} {
		binary.BigEndian.PutUint64(b[at:], v)
	}
	copy(b[1536:], "data")
	return b
}

// FuzzConvert: whatever the file says, the disk is within its size, comes out the
// same read ahead and stored, and has no byte that the file has not.
func FuzzConvert(f *testing.F) {
	f.Add(tiny())
	compressed := tiny()
	binary.BigEndian.PutUint64(compressed[1024:], entryCompressed|1536)
	f.Add(compressed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var sums [2]string
		for i, ahead := range []bool{true, false} {
			out, n, err := convert(t, b, ahead, Limits{VirtualSize: 1 << 20, Bytes: 1 << 20})
			if err != nil {
				sums[i] = "error"
				continue
			}
			got := readFile(t, out.Name())
			if int64(len(got)) != n {
				t.Fatalf("%d bytes of %d", len(got), n)
			}
			sums[i] = fmt.Sprintf("%x", sha256.Sum256(got))
		}
		if sums[0] != sums[1] {
			t.Errorf("read ahead %s, stored %s", sums[0], sums[1])
		}
	})
}
