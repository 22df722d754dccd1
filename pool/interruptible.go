package pool

import (
	"context"
	"io"
	"os"
)

// interruptibleReader is a reader whose reads end with ctx, also while they wait: a
// pipe that nobody writes to keeps a read(2) for ever. A read that was given up goes
// on in the background. A regular file needs none of that.
func interruptibleReader(ctx context.Context, r io.Reader) io.Reader {
	if isRegular(r) {
		return r
	}
	return &waitingReader{ctx: ctx, r: r, buf: make([]byte, waitingBuffer)}
}

// interruptibleWriter is interruptibleReader for what is written to.
func interruptibleWriter(ctx context.Context, w io.Writer) io.Writer {
	if isRegular(w) {
		return w
	}
	return &waitingWriter{ctx: ctx, w: w}
}

// OpenWaiting is os.OpenFile, without making anything, for what may be a FIFO: it waits
// until somebody has its other end open, or ctx ends.
func OpenWaiting(ctx context.Context, path string, flag int) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened)
	go func() {
		f, err := os.OpenFile(path, flag, 0)
		select {
		case done <- opened{f, err}:
		case <-ctx.Done():
			if err == nil {
				_ = f.Close() // nobody wants it any more
			}
		}
	}()
	select {
	case got := <-done:
		return got.f, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// waitingBuffer is as much as a pipe holds, in general.
const waitingBuffer = 64 << 10

// isRegular says whether something is a regular file, which nothing has to be waited for.
func isRegular(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// transferred is what a read or a write has come to.
type transferred struct {
	n   int
	err error
}

type waitingReader struct {
	ctx  context.Context
	r    io.Reader
	buf  []byte // of the read under way, if there is one
	rest []byte // what was read and not taken yet
	err  error  // what follows rest
	done chan transferred
}

func (w *waitingReader) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		if w.done == nil {
			done := make(chan transferred, 1)
			go func() {
				n, err := w.r.Read(w.buf)
				done <- transferred{n, err}
			}()
			w.done = done
		}
		select {
		case got := <-w.done:
			w.done, w.rest, w.err = nil, w.buf[:got.n], got.err
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

type waitingWriter struct {
	ctx context.Context
	w   io.Writer
	buf []byte // of the write under way, if there is one
	// abandoned says that one was given up: it may be at it still.
	abandoned bool
}

func (w *waitingWriter) Write(p []byte) (int, error) {
	if w.abandoned {
		return 0, w.ctx.Err()
	}
	// The caller has p back when this returns, whether that was written or given up.
	w.buf = append(w.buf[:0], p...)
	buf, done := w.buf, make(chan transferred, 1)
	go func() {
		n, err := w.w.Write(buf)
		done <- transferred{n, err}
	}()
	select {
	case got := <-done:
		return got.n, got.err
	case <-w.ctx.Done():
		w.abandoned = true
		return 0, w.ctx.Err()
	}
}
