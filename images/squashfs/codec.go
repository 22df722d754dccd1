package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// What is wrong with a compressed block.
var (
	errDamaged = errors.New("the data is damaged")
	errTooLong = errors.New("it holds more than a block may")
)

// maxDictionary is the most memory in bytes that an xz block may ask its decoder
// for. mksquashfs's are no larger than a block (1 MiB).
const maxDictionary = 64 << 20

// decoder decompresses blocks, for one goroutine.
type decoder interface {
	// decode writes what src decompresses to into dst and returns its length. More
	// than fits is an error.
	decode(dst, src []byte) (int, error)
	close()
}

// newDecoder makes a decoder for blocks of at most blockSize bytes.
func newDecoder(c Compression, blockSize int) (decoder, error) {
	switch c {
	case Gzip:
		return &zlibDecoder{}, nil
	case LZMA:
		return pureDecoder(lzmaDecode), nil
	case LZO:
		return pureDecoder(lzoDecode), nil
	case LZ4:
		return pureDecoder(lz4Decode), nil
	case XZ:
		z, err := xz.NewReader(nil, maxDictionary)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return &xzDecoder{z: z}, nil
	case Zstd:
		// The limit of memory is that of one block's content; of its window, too.
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(blockSize, metadataBlock))))
		if err != nil {
			return nil, err
		}
		return &zstdDecoder{z}, nil
	}
	return nil, fmt.Errorf("%s is not supported", c)
}

// pureDecoder is a decoder without a state.
type pureDecoder func(dst, src []byte) (int, error)

func (p pureDecoder) decode(dst, src []byte) (int, error) { return p(dst, src) }
func (p pureDecoder) close()                              {}

// zlibDecoder decodes zlib streams (RFC 1950): squashfs's "gzip".
type zlibDecoder struct {
	z   io.ReadCloser
	src bytes.Reader
}

func (g *zlibDecoder) decode(dst, src []byte) (int, error) {
	g.src.Reset(src)
	if g.z == nil {
		z, err := zlib.NewReader(&g.src)
		if err != nil {
			return 0, err
		}
		g.z = z
	} else if err := g.z.(zlib.Resetter).Reset(&g.src, nil); err != nil { //nolint:errcheck,forcetypeassert // documented to be one
		return 0, err
	}
	return readBlock(g.z, dst)
}

func (g *zlibDecoder) close() {}

// xzDecoder decodes .xz streams in Go.
type xzDecoder struct {
	z   *xz.Reader
	src bytes.Reader
}

func (x *xzDecoder) decode(dst, src []byte) (int, error) {
	x.src.Reset(src)
	if err := x.z.Reset(&x.src); err != nil {
		return 0, err
	}
	return readBlock(x.z, dst)
}

func (x *xzDecoder) close() {}

// readBlock reads r to its end, where its checksum is verified, into dst.
func readBlock(r io.Reader, dst []byte) (int, error) {
	n, err := io.ReadFull(r, dst)
	switch {
	case err == nil:
		var more [1]byte
		if _, err := io.ReadFull(r, more[:]); err == nil {
			return 0, errTooLong
		} else if err != io.EOF {
			return 0, err
		}
		return n, nil
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		// The decoders report a cut stream by ErrUnexpectedEOF as well: then the next
		// read says so again, and not EOF.
		var more [1]byte
		if _, err := r.Read(more[:]); err != io.EOF {
			return 0, errDamaged
		}
		return n, nil
	}
	return 0, err
}

type zstdDecoder struct{ z *zstd.Decoder }

func (d *zstdDecoder) decode(dst, src []byte) (int, error) {
	// It takes the capacity for its own, also for what it writes in passing.
	out, err := d.z.DecodeAll(src, dst[:0:len(dst)])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return 0, errTooLong
	case err != nil:
		return 0, err
	case len(out) > len(dst):
		return 0, errTooLong
	}
	return copy(dst, out), nil // the same memory, unless it had to be made larger
}

func (d *zstdDecoder) close() { d.z.Close() }
