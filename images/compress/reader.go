package compress

import (
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
)

// MaxMemory is the most memory in bytes that a stream may ask its decompressor
// for (the window or dictionary): above what xz -9 (65 MiB) and zstd -19 (8 MiB)
// want, and at the 128 MiB of zstd --long and --ultra -22, far below what a hostile
// header can demand (4 GiB).
const MaxMemory = 128 << 20

// NewReader decompresses r, which is in the given format, ahead of the reader.
// Close stops the work, also in the middle, waits for it, and leaves nothing
// running; after it r is no longer read from. A read of r that blocks makes
// Close wait: end it by closing what r reads from.
//
// Errors of r come out unchanged; those of the data are wrapped with the name of
// the format.
func NewReader(ctx context.Context, f Format, r io.Reader) (io.ReadCloser, error) {
	switch f {
	case Tar:
		return newAhead(nopClose(r)), nil
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("cannot decompress gzip: %w", err)
		}
		return newAhead(&named{f, z, z.Close}), nil
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(MaxMemory), zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("cannot decompress zstd: %w", err)
		}
		return newAhead(&named{f, z, func() error { z.Close(); return nil }}), nil
	case Bzip2:
		return newAhead(&named{f, bzip2.NewReader(r), nil}), nil
	case LZ4:
		return newAhead(&named{f, lz4.NewReader(r), nil}), nil
	case LZMA:
		path, err := exec.LookPath("xz")
		if err != nil {
			return nil, fmt.Errorf("cannot decompress lzma: the program xz is needed (Debian: xz-utils): %w", err)
		}
		return startXZ(ctx, path, f, r)
	case XZ:
		if path, err := exec.LookPath("xz"); err == nil {
			return startXZ(ctx, path, f, r)
		}
		return newPureXZ(r)
	default:
		return nil, &UnsupportedError{f}
	}
}

// newPureXZ decodes xz in Go: about 0.7 of the xz program's speed on one thread.
func newPureXZ(r io.Reader) (io.ReadCloser, error) {
	z, err := xz.NewReader(r, MaxMemory)
	if err != nil {
		return nil, fmt.Errorf("cannot decompress xz: %w", err)
	}
	return newAhead(&named{XZ, z, nil}), nil
}

// named adds the format to a decoder's errors.
type named struct {
	format Format
	r      io.Reader
	close  func() error
}

func (n *named) Read(p []byte) (int, error) {
	c, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("cannot decompress %s: %w", n.format, err)
	}
	return c, err
}

func (n *named) Close() error {
	if n.close == nil {
		return nil
	}
	return n.close()
}

func nopClose(r io.Reader) io.ReadCloser { return io.NopCloser(r) }
