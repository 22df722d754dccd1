package compress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"golang.org/x/sys/unix"
)

// Method says how something is compressed.
type Method struct {
	Format Format // Tar is: not at all
	Level  int    // 0 = the usual one
}

// ParseMethod reads a method as LXD and Incus write it: "none", "gzip", "xz",
// "zstd", "bzip2", "lz4", "lzma" or "squashfs", and for a level "-N" behind it:
// "xz -9".
func ParseMethod(text string) (Method, error) {
	fields := strings.Fields(text)
	names := map[string]Format{
		"none": Tar, "gzip": Gzip, "xz": XZ, "zstd": Zstd, "bzip2": Bzip2, "lz4": LZ4, "lzma": LZMA, "squashfs": Squashfs,
	}
	if len(fields) == 0 || names[fields[0]] == Unknown {
		return Method{}, fmt.Errorf("unknown compression %q", text)
	}
	m := Method{Format: names[fields[0]]}
	for _, f := range fields[1:] {
		n, err := strconv.Atoi(strings.TrimPrefix(f, "-"))
		if err != nil || !strings.HasPrefix(f, "-") || n < 1 || n > m.highest() || len(fields) > 2 {
			return Method{}, fmt.Errorf("compression %q: a level from -1 to -%d may follow the name", text, m.highest())
		}
		m.Level = n
	}
	return m, nil
}

// highest is the highest level that there is; squashfs has zstd's.
func (m Method) highest() int {
	switch m.Format {
	case Tar:
		return 0
	case Zstd, Squashfs:
		return 22
	}
	return 9
}

// NewWriter compresses what is written to it into w. Close ends the stream, and
// waits for a program that does it: xz, lzma (the xz program) and bzip2. The same
// bytes become the same bytes each time, but for xz on another number of cores.
// When ctx ends, so does the program.
func NewWriter(ctx context.Context, m Method, w io.Writer) (io.WriteCloser, error) {
	switch m.Format {
	case Tar:
		return nopWriteCloser{w}, nil
	case Gzip:
		level := gzip.DefaultCompression
		if m.Level > 0 {
			level = m.Level
		}
		return gzip.NewWriterLevel(w, level)
	case Zstd:
		level := zstd.SpeedDefault
		if m.Level > 0 {
			level = zstd.EncoderLevelFromZstd(m.Level)
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level))
	case LZ4:
		z := lz4.NewWriter(w)
		levels := []lz4.CompressionLevel{lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}
		return z, z.Apply(lz4.CompressionLevelOption(levels[m.Level]))
	case XZ:
		return startCompressor(ctx, m, w, "xz", "xz-utils", "--compress", "--stdout", "--threads=0")
	case LZMA:
		return startCompressor(ctx, m, w, "xz", "xz-utils", "--compress", "--stdout", "--format=lzma")
	case Bzip2:
		return startCompressor(ctx, m, w, "bzip2", "bzip2", "--compress", "--stdout")
	}
	return nil, &UnsupportedError{m.Format}
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }

// program is a running compressor. Its output goes to the writer by a goroutine
// of os/exec.
type program struct {
	ctx    context.Context
	format Format
	in     *os.File
	out    *output
	done   chan error
	stderr tail
	ended  bool
}

// output is where the output of a program goes, and what was wrong with that. The
// program does not have the file itself: one whose output is a closed pipe may end
// as if all was well (xz, where SIGPIPE is ignored).
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// startCompressor runs a program of a Debian package. It ends with its input, with
// ctx, and with this process.
func startCompressor(ctx context.Context, m Method, w io.Writer, name, debian string, args ...string) (io.WriteCloser, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("cannot compress %s: the program %s is needed (Debian: %s): %w", m.Format, name, debian, err)
	}
	if m.Level > 0 {
		args = append(args, "-"+strconv.Itoa(m.Level))
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	growPipe(in)
	p := &program{ctx: ctx, format: m.Format, in: in, out: &output{w: w}, done: make(chan error, 1)}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = childIn, p.out, &p.stderr, []string{"LC_ALL=C"}
	if err := RunProgram(cmd, p.done); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", name, err), childIn.Close(), in.Close())
	}
	return p, childIn.Close()
}

// RunProgram starts a program that ends with this process, and sends to done what
// became of it. The thread that starts it waits for it: the signal of its parent's
// death is that of the thread's (prctl(2), PR_SET_PDEATHSIG).
func RunProgram(cmd *exec.Cmd, done chan<- error) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return <-started
}

func (p *program) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	if err != nil {
		err = p.finish(err)
	}
	return n, err
}

// Close ends the input and waits for the rest of the output.
func (p *program) Close() error { return p.finish(nil) }

// finish waits for the program, and turns its fate into an error; cause is why
// it could not be written to.
func (p *program) finish(cause error) error {
	if p.ended {
		return cause
	}
	p.ended = true
	err := errors.Join(p.in.Close(), <-p.done)
	switch {
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case p.out.err != nil:
		return p.out.err
	case err != nil:
		return fmt.Errorf("cannot compress %s: %w%s", p.format, err, p.stderr.suffix())
	}
	return cause
}

// Methods names what ParseMethod knows, for help texts.
func Methods() string {
	names := []string{"gzip", "xz", "zstd", "bzip2", "lz4", "lzma", "squashfs", "none"}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Has says whether NewWriter can write that format here: its program is there, or
// none is needed.
func Has(f Format) bool {
	switch f {
	case XZ, LZMA:
		_, err := exec.LookPath("xz")
		return err == nil
	case Bzip2:
		_, err := exec.LookPath("bzip2")
		return err == nil
	case Tar, Gzip, Zstd, LZ4:
		return true
	}
	return false
}
