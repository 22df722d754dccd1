package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
)

// Reader reads the entries of an archive that nothing else vouches for: one without
// its end marker is cut off, which package tar does not tell where an entry ends
// just there.
type Reader struct {
	*tar.Reader
	in *countReader
}

// NewReader reads an archive from r.
func NewReader(r io.Reader) *Reader {
	in := &countReader{r: r}
	return &Reader{tar.NewReader(in), in}
}

// Next goes to the next entry; io.EOF is the archive's end.
func (r *Reader) Next() (*tar.Header, error) {
	if _, err := io.Copy(io.Discard, r.Reader); err != nil { // what is left of the entry before
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	before := r.in.n
	hdr, err := r.Reader.Next()
	switch {
	case errors.Is(err, io.EOF) && r.in.n-before < blockSize:
		err = errors.New("it ends without an end marker: it is cut off")
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	return hdr, nil
}

// ReadEnd reads what follows the archive's end, up to that of its decompressor,
// which then has verified its checksums. Nothing but padding may be there.
func (r *Reader) ReadEnd(ctx context.Context) error { return drain(ctx, r.in, true) }

const blockSize = 512

// countReader counts what was read.
type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
