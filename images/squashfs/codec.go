package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// What is wrong with a compressed block.
var (
	errDamaged = errors.New("the data is damaged")
	errTooLong = errors.New("it holds more than a block may")
)

// decoder decompresses blocks, for one goroutine.
type decoder interface {
	// decode writes what src decompresses to into dst and returns its length. More
	// than fits is an error.
	decode(dst, src []byte) (int, error)
	close()
}

// newDecoder makes a decoder for blocks of at most blockSize bytes. vouched says that
// a check of their content is not needed.
func newDecoder(c Compression, blockSize int, vouched bool) (decoder, error) {
	switch c {
	case Gzip:
		return &zlibDecoder{}, nil
	case LZMA:
		return pureDecoder(new(lzma).alone), nil
	case LZO:
		return pureDecoder(lzoDecode), nil
	case LZ4:
		return pureDecoder(lz4Decode), nil
	case XZ:
		return newXZDecoder(vouched)
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

// pureDecoder is a decoder without anything to close.
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
