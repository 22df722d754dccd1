package qcow2

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// Converter makes raw disks.
type Converter struct {
	// TempDir is where a file is kept whose tables cannot be read first, in a file
	// without a name, gone with the process.
	TempDir string
	Limits  Limits
	// Pass, when not nil, is asked before content is written.
	Pass restore.Pass
}

// Convert writes the disk of the qcow2 r into out, an empty file, and returns the
// disk's size in bytes. Zeros become holes.
//
// The tables, which may be anywhere in the file, are read through at, which is the
// same file, before their turn; then r is read once, from its beginning to the
// last cluster. That the bytes of the tables were the same both times is verified.
// Where at is nil or fails, or where there are very many tables, r is stored first
// (TempDir).
//
// Whether r is the right file its reader verifies, which may be at its end: on an
// error of that, as on any, the content of out is undefined.
func (c *Converter) Convert(ctx context.Context, r io.Reader, at io.ReaderAt, out *os.File) (int64, error) {
	limits := c.Limits.withDefaults()
	head := make([]byte, HeaderSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, err
	}
	h, err := ParseHeader(head[:n])
	if err != nil {
		return 0, err
	}
	if h.Size > limits.VirtualSize {
		return 0, &LimitError{What: "bytes of a disk", Limit: limits.VirtualSize}
	}
	var l *layout
	if at != nil {
		l, err = readLayout(ctx, h, at, aheadTables)
	}
	if at == nil || errors.Is(err, errManyTables) || errors.Is(err, errors.ErrUnsupported) {
		f, serr := restore.Store(ctx, head[:n], r, c.TempDir, limits.Bytes, c.Pass)
		if serr != nil {
			return 0, serr
		}
		defer func() { _ = f.Close() }() // its content is not kept
		if l, err = readLayout(ctx, h, f, 0); err == nil {
			r = io.NewSectionReader(f, int64(n), 1<<62)
		}
	}
	if err != nil {
		return 0, err
	}
	if err := out.Truncate(h.Size); err != nil {
		return 0, fmt.Errorf("cannot write the disk: %w", err)
	}
	return h.Size, l.convert(ctx, r, int64(n), &disk{out, h.Size, c.Pass})
}

// window is how much of the file is held: the longest compressed cluster.
func (l *layout) window() int {
	longest := 1 << 20
	for i := range l.pieces {
		if p := &l.pieces[i]; p.compressed() || p.table() {
			longest = max(longest, int(p.size))
		}
	}
	return longest
}

// convert reads the file, which is at byte pos, piece by piece.
func (l *layout) convert(ctx context.Context, r io.Reader, pos int64, out *disk) error {
	in := bufio.NewReaderSize(r, l.window())
	w := l.startWorkers(out)
	err := l.feed(ctx, in, pos, w)
	return errors.Join(err, w.wait())
}

func (l *layout) feed(ctx context.Context, in *bufio.Reader, pos int64, w *workers) error {
	for i := range l.pieces {
		p := &l.pieces[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.failed() {
			return nil // wait says why
		}
		if err := skip(in, p.at-pos); err != nil {
			return err
		}
		pos = p.at
		if !p.table() && !p.compressed() {
			n, err := l.run(ctx, in, p, w.out)
			if err != nil {
				return err
			}
			pos += n
			continue
		}
		// Only looked at: the next cluster may begin in what is behind this one.
		b, err := in.Peek(int(p.size))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if p.table() {
			if !l.sameTable(p, b) {
				return errors.New("it changed while it was read, or is cut short")
			}
			continue
		}
		if len(b) == 0 {
			return errCutShort
		}
		w.work(bytes.Clone(b), p.disk)
	}
	return nil
}

var errCutShort = errors.New("it is cut short")

// skip passes over n bytes.
func skip(in *bufio.Reader, n int64) error {
	for n > 0 {
		m, err := in.Discard(int(min(n, 1<<30)))
		if n -= int64(m); errors.Is(err, io.EOF) {
			return errCutShort
		} else if err != nil {
			return err
		}
	}
	return nil
}

// run copies clusters as they are, and returns how many bytes it has read. The
// file may end in the last one: QEMU writes no more of it than the disk has.
func (l *layout) run(ctx context.Context, in *bufio.Reader, p *piece, out *disk) (int64, error) {
	total := l.length(p)
	for done := int64(0); done < total; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		b, err := in.Peek(int(min(total-done, 1<<20)))
		if len(b) > 0 {
			if werr := out.write(b, p.disk+done); werr != nil {
				return done, werr
			}
			done += int64(len(b))
			_, _ = in.Discard(len(b)) // it is there
		}
		switch {
		case errors.Is(err, io.EOF) && total-done < l.h.cluster():
			return done, nil
		case errors.Is(err, io.EOF):
			return done, errCutShort
		case err != nil:
			return done, err
		}
	}
	return total, nil
}

// disk is the raw disk that is written.
type disk struct {
	file *os.File
	size int64
	pass restore.Pass
}

// write writes b at an offset; zeros become holes.
func (d *disk) write(b []byte, off int64) error {
	if off+int64(len(b)) > d.size {
		b = b[:d.size-off]
	}
	if err := d.pass.Before(len(b)); err != nil {
		return err
	}
	if _, err := restore.WriteSparse(int(d.file.Fd()), b, off); err != nil {
		return fmt.Errorf("cannot write the disk: %w", err)
	}
	return nil
}

// workers decompress clusters and write them, one per core.
type workers struct {
	out  *disk
	jobs chan job
	done sync.WaitGroup

	mu  sync.Mutex
	err error
}

type job struct {
	data []byte
	disk int64
}

func (l *layout) startWorkers(out *disk) *workers {
	n := min(runtime.GOMAXPROCS(0), 8)
	w := &workers{out: out, jobs: make(chan job, n)}
	for range n {
		w.done.Add(1)
		go func() {
			defer w.done.Done()
			d := decoder{kind: l.h.Compression, cluster: make([]byte, l.h.cluster())}
			defer d.close()
			for j := range w.jobs {
				if w.failed() {
					continue
				}
				err := d.decode(j.data)
				if err == nil {
					err = out.write(d.cluster, j.disk)
				} else {
					err = fmt.Errorf("the disk's cluster at byte %d: %w", j.disk, err)
				}
				w.fail(err)
			}
		}()
	}
	return w
}

func (w *workers) work(data []byte, disk int64) { w.jobs <- job{data, disk} }

func (w *workers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *workers) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil
}

// wait ends the workers, and returns their first error.
func (w *workers) wait() error {
	close(w.jobs)
	w.done.Wait()
	return w.err
}

// decoder decompresses clusters one after the other.
type decoder struct {
	kind    byte
	cluster []byte
	inflate io.ReadCloser
	zstd    *zstd.Decoder
}

// decode fills d.cluster; what follows in data is of no meaning.
func (d *decoder) decode(data []byte) error {
	r, err := d.open(bytes.NewReader(data))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(r, d.cluster)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("cannot decompress it: %w", err)
	}
	return nil
}

func (d *decoder) open(r *bytes.Reader) (io.Reader, error) {
	if d.kind == compressionDeflate {
		if d.inflate == nil {
			d.inflate = flate.NewReader(r)
			return d.inflate, nil
		}
		resetter, ok := d.inflate.(flate.Resetter)
		if !ok {
			return nil, errors.ErrUnsupported
		}
		return d.inflate, resetter.Reset(r, nil)
	}
	if d.zstd == nil {
		// A cluster has its own frame, whose window need not be larger than it is.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(max(uint64(len(d.cluster)), 8<<20)), zstd.WithDecoderLowmem(true))
		d.zstd = z
		return z, err
	}
	return d.zstd, d.zstd.Reset(r)
}

func (d *decoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

// flagNoCow is FS_NOCOW_FL of linux/fs.h.
const flagNoCow = 0x00800000

// NoCow makes an empty file one whose blocks are overwritten in place on btrfs, as
// LXD and Incus have the disks of virtual machines (chattr +C; FS_IOC_SETFLAGS of
// ioctl_iflags(2)). Other file systems have nothing of the kind, which is no error.
func NoCow(f *os.File) error {
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|flagNoCow)
	}
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot set its flags: %w", err)
	}
	return nil
}
