package images

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// progressEvery is the least time between two calls of Request.Progress.
const progressEvery = 100 * time.Millisecond

// source reads a part: it hashes and counts every byte, reports progress, and
// remembers the first error of the stream, which is the cause of whatever the
// decompressor and the archive reader then complain of.
type source struct {
	ctx    context.Context
	part   *Part
	rc     io.ReadCloser
	hash   hash.Hash
	n      int64
	err    error // io.EOF at the end
	report func(Progress)
	last   time.Time
	stop   func() bool
	closed chan error
}

// openSource opens a part. When ctx ends the part is closed, so that a blocked
// read ends.
func openSource(ctx context.Context, part *Part, h hash.Hash, report func(Progress)) (*source, error) {
	rc, err := part.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", part.Name, err)
	}
	s := &source{ctx: ctx, part: part, rc: rc, hash: h, report: report, last: time.Now(), closed: make(chan error, 1)}
	s.stop = context.AfterFunc(ctx, func() { s.closed <- rc.Close() })
	return s, nil
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.rc.Read(p)
	s.n += int64(n)
	if n > 0 {
		s.hash.Write(p[:n]) // never fails (hash.Hash)
	}
	if size := s.part.Size; size > 0 && (s.n > size || errors.Is(err, io.EOF) && s.n != size) {
		if err == nil || errors.Is(err, io.EOF) {
			err = &SizeError{s.part.Name, size, s.n}
		}
	}
	if cerr := s.ctx.Err(); cerr != nil && err != nil {
		err = cerr
	}
	s.err = err
	if s.report != nil && (err != nil || time.Since(s.last) >= progressEvery) {
		s.last = time.Now()
		s.report(Progress{s.part.Name, s.n, max(s.part.Size, 0)})
	}
	return n, err
}

// ReadAt reads ahead of the stream, where the part can do that. What it gives is
// not counted and not hashed: it comes again when its turn is.
func (s *source) ReadAt(p []byte, off int64) (int, error) {
	at, ok := s.rc.(io.ReaderAt)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := at.ReadAt(p, off)
	if cerr := s.ctx.Err(); cerr != nil && err != nil {
		err = cerr
	}
	return n, err
}

// drain reads to the end: what the archive's reader left is hashed too, and the
// part gets to verify itself.
func (s *source) drain() error {
	buf := make([]byte, 64<<10)
	for s.err == nil {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		_, _ = s.Read(buf) // the error is kept in s.err
	}
	return s.failure()
}

// failure is the error of the stream itself, nil when it ended well or goes on.
func (s *source) failure() error {
	if s.err == nil || errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// close closes the part, once.
func (s *source) close() error {
	if s.stop() {
		return s.rc.Close()
	}
	return <-s.closed
}
