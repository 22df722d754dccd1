package compress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/images/internal/testtree"
)

func TestDetectFixtures(t *testing.T) {
	shared := testtree.Shared(t)
	for pattern, want := range map[string]Format{
		"alpine/*.tar.gz": Gzip, "small/*/*.tar.xz": XZ, "small/lxd-alpine-unified/*": Gzip,
		"small/squashfs/*.sqfs": Squashfs, "small/squashfs/*.sqfs[34]": Squashfs, "small/squashfs/*.sqfs2": Squashfs,
		"hostile/traversal/*.zip": "zip", "hostile/traversal/*.zst": Zstd, "hostile/traversal/*.tar": Tar,
		"hostile/tar-rs/[a-df-z]*.tar": Tar, "hostile/tar-ng/*.tar": Tar, "hostile/go-tar/v7.tar": Tar, "hostile/go-tar/*.bz2": Bzip2,
		"small/qcow2/cirros*": "qcow2", "small/squashfs/empty": Unknown, "small/fs/btrfs.img.xz": XZ,
		"simplestreams/local-real/oracle.json": Unknown,
	} {
		found, err := filepath.Glob(filepath.Join(shared, pattern))
		if err != nil || len(found) == 0 {
			t.Errorf("%s: no files, %v", pattern, err)
		}
		for _, path := range found {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := Detect(b[:min(len(b), HeadSize)]); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
}

// FuzzDetect: any bytes are something or nothing; nothing is never readable.
func FuzzDetect(f *testing.F) {
	f.Add([]byte("hsqs"))
	f.Add(make([]byte, 512))
	f.Add([]byte("\x50\x2a\x4d\x18"))
	f.Fuzz(func(t *testing.T, b []byte) {
		format := Detect(b)
		r, err := NewReader(t.Context(), format, bytes.NewReader(b))
		if err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, r, 1<<20) // damaged data is an error
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// streams are the same data in every format, and the ways to read it.
func streams(t *testing.T) (plain []byte, packed map[Format][]byte) {
	t.Helper()
	plain = bytes.Repeat([]byte("some text that compresses, but not too well: \x00\x01\x02\n"), 60_000)
	for i := range plain {
		if i%97 == 0 {
			plain[i] = byte(i / 97 * 31)
		}
	}
	packed = map[Format][]byte{Tar: plain}
	for format, command := range map[Format]string{Gzip: "gzip", XZ: "xz --block-size=200KiB", Zstd: "zstd -c", Bzip2: "bzip2", LZ4: "lz4 -c", LZMA: "xz --format=lzma"} {
		cmd := exec.Command("sh", "-c", command)
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		packed[format] = out
	}
	return plain, packed
}

// readers are all decompressors, the one for machines without xz too.
func readers() map[string]func(context.Context, io.Reader) (io.ReadCloser, error) {
	all := map[string]func(context.Context, io.Reader) (io.ReadCloser, error){
		"xz in Go": func(_ context.Context, r io.Reader) (io.ReadCloser, error) { return newPureXZ(r) },
	}
	for _, f := range []Format{Tar, Gzip, XZ, Zstd, Bzip2, LZ4, LZMA} {
		all[string(f)] = func(ctx context.Context, r io.Reader) (io.ReadCloser, error) { return NewReader(ctx, f, r) }
	}
	return all
}

func formatOf(name string) Format {
	f, _, _ := strings.Cut(name, " ")
	return Format(f)
}

func TestReaders(t *testing.T) {
	plain, packed := streams(t)
	boom := errors.New("boom")
	for name, open := range readers() {
		data := packed[formatOf(name)]
		t.Run(name, func(t *testing.T) {
			r, err := open(t.Context(), bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes of %d, %v", len(got), len(plain), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			childless(t)
		})
		t.Run(name+"/error of the source", func(t *testing.T) {
			r, err := open(t.Context(), io.MultiReader(bytes.NewReader(data[:len(data)/2]), broken{boom}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(r); !errors.Is(err, boom) {
				t.Errorf("got %v", err)
			}
			_ = r.Close()
			childless(t)
		})
		t.Run(name+"/closed early", func(t *testing.T) {
			src := &endless{data: data}
			r, err := open(t.Context(), src)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			n := src.n
			time.Sleep(10 * time.Millisecond)
			if src.n != n {
				t.Error("the source is still read from")
			}
			childless(t)
		})
		if name == string(Tar) {
			continue
		}
		t.Run(name+"/damaged", func(t *testing.T) {
			bad := bytes.Clone(data)
			bad[len(bad)/2] ^= 0xff
			bad[len(bad)/2+1] ^= 0xff
			for what, b := range map[string][]byte{"changed": bad, "cut": data[:len(data)/2]} {
				r, err := open(t.Context(), bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "cannot decompress "+string(formatOf(name))) {
					t.Errorf("%s: got %v", what, err)
				}
				_ = r.Close()
			}
			childless(t)
		})
	}
}

// endless repeats its data: for formats of several members that is valid for ever.
type endless struct {
	data []byte
	n    int
}

func (e *endless) Read(p []byte) (int, error) {
	c := copy(p, e.data[e.n%len(e.data):])
	e.n += c
	return c, nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func childless(t *testing.T) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(b)) > 0 {
			t.Errorf("processes left: %s", b)
		}
	}
}

// TestUnsupported names what it is.
func TestUnsupported(t *testing.T) {
	for head, want := range map[string]string{
		"PK\x03\x04": "zip", "QFI\xfb\x00\x00": "virtual machine", "hello": "unknown file format", "LZIP\x01": "lzip",
	} {
		_, err := NewReader(t.Context(), Detect([]byte(head)), strings.NewReader(head))
		var u *UnsupportedError
		if !errors.As(err, &u) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", head, err, want)
		}
	}
}

// TestMemoryBomb: a stream that wants a dictionary of more than MaxMemory is refused.
func TestMemoryBomb(t *testing.T) {
	cmd := exec.Command("xz", "-c", "--lzma2=preset=0,dict=768MiB")
	cmd.Stdin = strings.NewReader("x")
	bomb, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range readers() {
		if formatOf(name) != XZ {
			continue
		}
		r, err := open(t.Context(), bytes.NewReader(bomb))
		if err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "cannot decompress xz") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
