package sendstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"poolctl/images/compress"
)

// ErrFormat says that what is read is no file of this kind.
var ErrFormat = errors.New("it is not what poolctl send writes")

var (
	errEmpty   = errors.New("it is empty")
	errCutOff  = errors.New("it is cut off")
	errDamaged = errors.New("it is damaged")
)

// Is says whether a file that begins so is one of this kind.
func Is(head []byte) bool { return bytes.HasPrefix(head, []byte(magic)) }

// Reader reads a file.
type Reader struct {
	Header Header
	under  *bufio.Reader
	z      io.ReadCloser
	sum    hash.Hash
	left   int
	data   []byte // of the frame that is read
	ended  bool   // the stream that is read
	buf    []byte
}

// NewReader reads and verifies the header. Close ends it.
func NewReader(ctx context.Context, r io.Reader) (*Reader, error) {
	in := &Reader{under: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), ended: true}
	head := make([]byte, len(magic)+4)
	n, err := io.ReadFull(in.under, head)
	switch {
	case err != nil && !isEOF(err):
		return nil, err
	case n == 0:
		return nil, errEmpty
	case !bytes.HasPrefix(head[:n], []byte(magic[:min(n, len(magic))])):
		return nil, ErrFormat
	case err != nil:
		return nil, fmt.Errorf("%w in its header, after %d bytes", errCutOff, n)
	}
	size := binary.BigEndian.Uint32(head[len(magic):])
	if size > maxHeader {
		return nil, fmt.Errorf("%w: its header has %d bytes", errDamaged, size)
	}
	var raw bytes.Buffer // grows with what there is, whatever the length says
	if n, err := io.CopyN(&raw, in.under, int64(size)+sha256.Size); err != nil {
		if isEOF(err) {
			err = fmt.Errorf("%w in its header, after %d bytes", errCutOff, n)
		}
		return nil, err
	}
	content, want := raw.Bytes()[:size], raw.Bytes()[size:]
	sum := sha256.New()
	sum.Write(head)
	sum.Write(content)
	if !bytes.Equal(sum.Sum(nil), want) {
		return nil, fmt.Errorf("%w: the checksum of its header is wrong", errDamaged)
	}
	if in.Header, err = parseHeader(content); err != nil {
		return nil, fmt.Errorf("cannot read its header: %w", err)
	}
	in.sum.Write(want)
	for _, v := range in.Header.Versions {
		in.left += len(v.Subvolumes)
	}
	in.z = io.NopCloser(in.under)
	if in.Header.Compression == CompressionZstd {
		in.z, err = compress.NewReader(ctx, compress.Zstd, in.under)
	}
	return in, err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Close gives the decompressor up.
func (r *Reader) Close() error { return r.z.Close() }

// Stream is the stream of the next subvolume. The one before need not have been read to its end, but is verified.
func (r *Reader) Stream() (io.Reader, error) {
	if err := r.finish(); err != nil {
		return nil, err
	}
	if r.left == 0 {
		return nil, io.EOF
	}
	r.left--
	r.ended = false
	return stream{r}, nil
}

// finish reads the rest of a stream.
func (r *Reader) finish() error {
	for !r.ended {
		if err := r.next(); err != nil {
			return err
		}
	}
	r.data = nil
	return nil
}

// stream reads the frames of one stream.
type stream struct{ r *Reader }

func (s stream) Read(b []byte) (int, error) {
	for len(s.r.data) == 0 {
		if s.r.ended {
			return 0, io.EOF
		}
		if err := s.r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.r.data)
	s.r.data = s.r.data[n:]
	return n, nil
}

// next reads a frame of a stream.
func (r *Reader) next() error {
	kind, content, err := r.frame()
	switch {
	case err != nil:
		return err
	case kind == kindEnd && len(content) == 0:
		r.ended = true
	case kind == kindData && len(content) > 0:
		r.sum.Write(content)
	default:
		return fmt.Errorf("%w: a frame that is none of a stream", errDamaged)
	}
	r.data = content
	return nil
}

func (r *Reader) frame() (kind byte, content []byte, err error) {
	head := make([]byte, 5)
	if err := r.full(head); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", errDamaged, size)
	}
	if r.buf == nil {
		r.buf = make([]byte, maxFrame+4)
	}
	content = r.buf[:size+4]
	if err := r.full(content); err != nil {
		return 0, nil, err
	}
	crc := binary.BigEndian.Uint32(content[size:])
	content = content[:size]
	if crc != crc32.Update(crc32.Checksum(head, castagnoli()), castagnoli(), content) {
		return 0, nil, fmt.Errorf("%w: the checksum of a frame is wrong", errDamaged)
	}
	return head[0], content, nil
}

func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.z, b)
	if isEOF(err) {
		return errCutOff
	} else if err != nil {
		return fmt.Errorf("cannot read it: %w", err)
	}
	return nil
}

// End verifies the whole, and that nothing follows it.
func (r *Reader) End() error {
	if err := r.finish(); err != nil {
		return err
	}
	if r.left > 0 {
		return fmt.Errorf("%d streams were not read", r.left)
	}
	kind, content, err := r.frame()
	if err != nil {
		return err
	}
	if kind != kindLast || !bytes.Equal(content, r.sum.Sum(nil)) {
		return fmt.Errorf("%w: the checksum of the whole is wrong", errDamaged)
	}
	for _, rest := range []io.Reader{r.z, r.under} {
		n, err := io.Copy(io.Discard, io.LimitReader(rest, 1))
		switch {
		case n > 0, errors.Is(err, zstd.ErrMagicMismatch): // where another frame could begin
			return errors.New("something follows its end")
		case isEOF(err):
			return errors.New("it is cut off, or something follows its end")
		case err != nil:
			return fmt.Errorf("cannot read its end: %w", err)
		}
	}
	return nil
}
