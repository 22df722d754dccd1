package compress

import (
	"errors"
	"io"
	"sync"
)

const (
	aheadChunk  = 256 << 10
	aheadChunks = 8 // 2 MiB in flight: bounds memory, evens out bursts
)

// ahead reads from a ReadCloser in a goroutine, a bounded number of chunks ahead
// of its own reader.
type ahead struct {
	full  chan chunk
	empty chan []byte
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	cur  []byte // unread part of buf
	buf  []byte
	err  error
	cerr error // of closing the source
}

type chunk struct {
	buf []byte
	n   int
	err error
}

var errClosed = errors.New("decompressor is closed")

func newAhead(src io.ReadCloser) *ahead {
	a := &ahead{
		full:  make(chan chunk, aheadChunks),
		empty: make(chan []byte, aheadChunks),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for range aheadChunks {
		a.empty <- nil // made when first used: small files take one
	}
	go a.run(src)
	return a
}

func (a *ahead) run(src io.ReadCloser) {
	defer close(a.done)
	defer func() { a.cerr = src.Close() }()
	for {
		var buf []byte
		select {
		case <-a.stop:
			return
		case buf = <-a.empty:
		}
		if buf == nil {
			buf = make([]byte, aheadChunk)
		}
		n, err := fill(src, buf)
		select {
		case <-a.stop:
			return
		case a.full <- chunk{buf, n, err}:
		}
		if err != nil {
			return
		}
	}
}

// fill reads until buf is full or an error comes; io.EOF stays io.EOF.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var c int
		c, err = r.Read(buf[n:])
		n += c
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buf != nil {
			a.empty <- a.buf
			a.buf = nil
		}
		select {
		case c := <-a.full:
			a.buf, a.cur, a.err = c.buf, c.buf[:c.n], c.err
		case <-a.stop:
			return 0, errClosed
		}
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// Close stops the goroutine and waits for it.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	<-a.done
	return a.cerr
}
