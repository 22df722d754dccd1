package remotes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// OpenOptions are the arguments of OpenWith.
type OpenOptions struct {
	// Keep keeps what comes in below Options.DownloadDir, from where the next
	// OpenWith of that file, in another process too, goes on. Forget removes it.
	Keep bool
	// Progress, when not nil, is told how many bytes are there, of which the first
	// call tells those of an earlier download. Calls come one after the other.
	Progress func(done int64)
}

// KeepError says that what comes in cannot be kept. Without Keep the download may
// succeed.
type KeepError struct {
	Dir   string
	cause error
}

// Error says why. The cause is not unwrapped: it says nothing of where the file's
// content is going.
func (e *KeepError) Error() string {
	return fmt.Sprintf("cannot keep the download in %s: %v", e.Dir, e.cause)
}

// OpenWith is Open, except that with Keep the file comes in at its own pace,
// whether it is read or not, so that several can be opened to come in at once. An
// error of the first connection is one of Read then.
//
// A file that another process is keeping is downloaded without.
func (c *Client) OpenWith(ctx context.Context, f File, o OpenOptions) (io.ReadCloser, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("cannot download from %s: %w", c.remote.Name, err)
	}
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	if !o.Keep || c.downloads == "" {
		return c.openCounted(ctx, f, o.Progress)
	}
	k, err := openKept(c.downloads, f)
	if errors.Is(err, errKeptBusy) {
		return c.openCounted(ctx, f, o.Progress)
	}
	if err != nil {
		return nil, &KeepError{c.downloads, err}
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &keptStream{d: c.newDownload(ctx, f), kept: k, have: k.have, cancel: cancel, progress: o.Progress, ended: make(chan struct{})}
	s.changed.L = &s.mu
	s.d.connected = s.connect
	if k.from.URL == s.d.route.url() && k.have > 0 {
		s.d.validator, s.d.route.last = k.from.Validator, s.d.route.at
	}
	if k.end != nil {
		s.d.resumed = true
		if err := s.useEnd(); err != nil {
			cancel()
			return nil, errors.Join(&KeepError{c.downloads, err}, k.close())
		}
	}
	o.Progress(k.have)
	go s.run()
	return s, nil
}

// Forget removes what OpenWith has kept of files. They are closed.
func (c *Client) Forget(files ...File) error {
	if c.downloads == "" {
		return nil
	}
	var errs []error
	for _, f := range files {
		errs = append(errs, RemoveKept(c.downloads, f.SHA256))
	}
	return errors.Join(errs...)
}

// openCounted is Open with progress.
func (c *Client) openCounted(ctx context.Context, f File, progress func(int64)) (io.ReadCloser, error) {
	rc, err := c.Open(ctx, f)
	if err != nil {
		return nil, err
	}
	d, ok := rc.(*download)
	if !ok {
		return rc, nil
	}
	progress(0)
	return &counted{download: d, progress: progress}, nil
}

// counted tells of the bytes that are read. What is read ahead comes again by Read.
type counted struct {
	*download
	progress func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.download.Read(p)
	if n > 0 {
		c.progress(c.off)
	}
	return n, err
}

// keptStream is a download that one goroutine writes to a keptFile and another reads
// from there. The verdict on the whole comes after its last byte.
type keptStream struct {
	d        *download
	kept     *keptFile
	cancel   context.CancelFunc
	progress func(int64)
	ended    chan struct{} // closed when the goroutine has
	once     sync.Once
	closeErr error
	pos      int64 // the reader's

	mu      sync.Mutex
	changed sync.Cond
	have    int64 // bytes of data
	online  bool  // there was a connection
	verdict error // io.EOF when the file is complete and right
	closed  bool
}

// keepBytes is how much is read at a time, at most.
const keepBytes = 256 << 10

// run downloads what is missing.
func (s *keptStream) run() {
	defer close(s.ended)
	err := s.download()
	var hash *HashError
	var size *SizeError
	if errors.As(err, &hash) || errors.As(err, &size) || s.have == 0 && s.d.ending().at == nil {
		if rerr := s.kept.remove(); rerr != nil {
			err = errors.Join(err, rerr)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict == nil {
		s.verdict = err
	}
	s.changed.Broadcast()
}

func (s *keptStream) download() error {
	if err := s.rehash(); err != nil {
		return err
	}
	if s.d.off < s.d.fetched() {
		if err := s.d.connect(nil); err != nil {
			return err
		}
	}
	buf := make([]byte, keepBytes)
	for {
		n, err := s.d.Read(buf)
		if n > 0 {
			if werr := s.write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			_ = s.d.drop() // a connection that is given up, or has ended
			return err
		}
	}
}

// rehash reads what is there already.
func (s *keptStream) rehash() error {
	if s.have == 0 {
		return nil
	}
	n, err := io.Copy(s.d.hash, io.NewSectionReader(s.kept.data, 0, s.have))
	if err == nil && n < s.have {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return s.keepError(err)
	}
	s.d.off, s.d.mark, s.d.resumed = n, n, true
	return nil
}

func (s *keptStream) keepError(err error) error {
	return &KeepError{filepath.Dir(s.kept.path), err}
}

// write keeps bytes and lets the reader have them.
func (s *keptStream) write(b []byte) error {
	if _, err := s.kept.data.WriteAt(b, s.have); err != nil {
		_ = s.kept.remove() // it makes room; if it fails doctor finds it
		return s.keepError(err)
	}
	s.mu.Lock()
	s.have += int64(len(b))
	have := s.have
	s.changed.Broadcast()
	s.mu.Unlock()
	s.progress(have)
	return nil
}

// connect is told of a connection.
func (s *keptStream) connect(o origin) {
	s.kept.setOrigin(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online = true
	s.changed.Broadcast()
}

// Read implements io.Reader.
func (s *keptStream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	for s.pos == s.have && s.verdict == nil {
		s.changed.Wait()
	}
	have, verdict := s.have, s.verdict
	s.mu.Unlock()
	if verdict != nil && (verdict != io.EOF || s.pos == have) { //nolint:errorlint // it is that one
		return 0, verdict
	}
	n, err := s.kept.data.ReadAt(p[:min(int64(len(p)), have-s.pos)], s.pos)
	s.pos += int64(n)
	if err != nil && n == 0 {
		return 0, s.keepError(err)
	}
	return n, nil
}

// ReadAt implements io.ReaderAt: of what is there already, or else by a request of
// its own. A server that sends no parts is waited for until it has come that far.
func (s *keptStream) ReadAt(p []byte, off int64) (int, error) {
	size := s.d.file.Size
	if off < 0 || off > size {
		return 0, fmt.Errorf("cannot read %s at byte %d of %d", s.d.file.Path, off, size)
	}
	want := p[:min(int64(len(p)), size-off)]
	for asked := false; ; asked = true {
		at, err := s.await(off, int64(len(want)), !asked)
		if err != nil {
			return 0, err
		}
		var n int
		if at != nil {
			n, err = at.ReadAt(want, off)
		} else {
			b := toTheEnd(want, off, size)
			if n, err = s.d.fetchPart(b, off); err != nil {
				continue // it comes in its turn
			}
			if off+int64(n) == size && n <= maxAhead {
				s.keepEnd(b[:n])
			}
			n = copy(want, b[:n])
		}
		if n == len(want) {
			err = nil
			if n < len(p) {
				err = io.EOF
			}
		}
		return n, err
	}
}

// await waits until bytes can be had: from a file that has them, or, where that
// may be, from the server (nil).
func (s *keptStream) await(off, n int64, ask bool) (io.ReaderAt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if e := s.d.ending(); e.at != nil && off >= e.off {
			return e.at, nil
		}
		switch {
		case off+n <= s.have:
			return s.kept.data, nil
		case s.verdict != nil && s.verdict != io.EOF: //nolint:errorlint // it is that one
			return nil, s.verdict
		case s.online && ask:
			return nil, nil
		}
		s.changed.Wait()
	}
}

// keepEnd keeps the end of the file, which came by ReadAt. If that fails it comes
// again in its turn.
func (s *keptStream) keepEnd(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.kept.end == nil && s.kept.putEnd(b) == nil {
		_ = s.useEnd()
	}
}

// useEnd takes the end of the file from what is kept.
func (s *keptStream) useEnd() error {
	info, err := s.kept.end.Stat()
	if err != nil {
		return err
	}
	off := s.d.file.Size - info.Size()
	s.d.setEnd(ending{off, shiftedEnd{s.kept.end, off}})
	return nil
}

// Close implements io.Closer. What has come in is kept.
func (s *keptStream) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		if s.verdict == nil {
			s.verdict = os.ErrClosed
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		s.cancel()
		<-s.ended
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.closeErr = s.kept.close()
	})
	return s.closeErr
}
