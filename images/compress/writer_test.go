package compress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// methods are all that there are, by how a user writes them.
var methods = []string{"none", "gzip", "gzip -9", "xz", "xz -1", "zstd", "zstd -19", "bzip2", "bzip2 -1", "lz4", "lz4 -9", "lzma -1"}

// TestWriters: what is compressed is of the format that it should be, the same each time, and is read again by us and by
// the format's own program.
func TestWriters(t *testing.T) {
	plain := bytes.Repeat([]byte("some text that compresses\x00\x01\n"), 10_000)
	programs := map[Format]string{Tar: "cat", Gzip: "gzip -dc", XZ: "xz -dc", Zstd: "zstd -dc", Bzip2: "bzip2 -dc", LZ4: "lz4 -dc", LZMA: "xz --format=lzma -dc"}
	for _, text := range methods {
		t.Run(text, func(t *testing.T) {
			m, err := ParseMethod(text)
			if err != nil {
				t.Fatal(err)
			}
			pack := func() []byte {
				var out bytes.Buffer
				w, err := NewWriter(t.Context(), m, &out)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(struct{ io.Writer }{w}, bytes.NewReader(plain))
				if err = errors.Join(err, w.Close()); err != nil {
					t.Fatal(err)
				}
				return out.Bytes()
			}
			packed := pack()
			if !bytes.Equal(packed, pack()) {
				t.Error("the same bytes became other ones")
			}
			if got := Detect(packed[:min(len(packed), HeadSize)]); m.Format != Tar && got != m.Format {
				t.Errorf("it looks like %q", got)
			}
			r, err := NewReader(t.Context(), m.Format, bytes.NewReader(packed))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("read again: %d bytes of %d, %v", len(got), len(plain), err)
			}
			_ = r.Close()
			cmd := exec.CommandContext(t.Context(), "sh", "-c", programs[m.Format])
			cmd.Stdin = bytes.NewReader(packed)
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("read by %s: %d bytes of %d, %v", programs[m.Format], len(got), len(plain), err)
			}
		})
	}
	childless(t)
}

// TestWriterFails: what the output refuses, and the end of the context, end the program.
func TestWriterFails(t *testing.T) {
	plain := bytes.Repeat([]byte("some text that compresses\x00\x01\n"), 10_000)
	boom := errors.New("boom")
	for _, text := range methods {
		m, err := ParseMethod(text)
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(t.Context(), m, full{boom})
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(struct{ io.Writer }{w}, bytes.NewReader(plain))
		if err = errors.Join(err, w.Close()); err == nil {
			t.Errorf("%s: it wrote what could not be written", text)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if w, err = NewWriter(ctx, m, io.Discard); err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = w.Close()
	}
	childless(t)
}

type full struct{ err error }

func (f full) Write([]byte) (int, error) { return 0, f.err }

func TestParseMethod(t *testing.T) {
	for _, text := range []string{"", "zip", "none -1", "gzip -10", "gzip 9", "gzip -0", "xz -9 -9", "zstd --fast", "GZIP"} {
		if m, err := ParseMethod(text); err == nil || !strings.Contains(err.Error(), "compression") {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
	if m, err := ParseMethod("squashfs -15"); err != nil || m != (Method{Squashfs, 15}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestWriterIntoClosedPipe: a backup into a pipe that nobody reads any more is none, whatever its compressor makes of that.
func TestWriterIntoClosedPipe(t *testing.T) {
	signal.Ignore(syscall.SIGPIPE) // as a command that writes to standard output does
	defer signal.Reset(syscall.SIGPIPE)
	for _, text := range methods {
		m, err := ParseMethod(text)
		if err != nil {
			t.Fatal(err)
		}
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(t.Context(), m, out)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write([]byte("little enough for the pipes"))
		if cerr := r.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if m.Format == Tar {
			_, err = w.Write([]byte("more"))
		}
		if err = errors.Join(err, w.Close(), out.Close()); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%s: it ends with %v", text, err)
		}
	}
	childless(t)
}
