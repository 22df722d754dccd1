package sendstream

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"sync"

	"poolctl/images/compress"
)

const (
	magic    = "poolctl-send-1\n"
	maxFrame = 256 << 10

	kindData = 'd'
	kindEnd  = 'e'
	kindLast = 'z'
)

var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// Writer writes a file. It ends with Close.
type Writer struct {
	z    io.WriteCloser
	sum  hash.Hash
	left int // streams that are to come
}

// NewWriter writes the header, and begins the body.
func NewWriter(ctx context.Context, w io.Writer, h Header) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err == nil && len(raw) > maxHeader {
		err = errors.New("the header is too large")
	}
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(raw))) //nolint:gosec // less than maxHeader
	head = append(head, raw...)
	sum := sha256.Sum256(head)
	if _, err := w.Write(append(head, sum[:]...)); err != nil {
		return nil, err
	}
	out := &Writer{z: nopCloser{w}, sum: sha256.New()}
	out.sum.Write(sum[:])
	for _, v := range h.Versions {
		out.left += len(v.Subvolumes)
	}
	if h.Compression == CompressionZstd {
		out.z, err = compress.NewWriter(ctx, compress.Method{Format: compress.Zstd}, w)
	}
	return out, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Stream writes the stream of the next subvolume, which send makes.
func (w *Writer) Stream(send func(io.Writer) error) error {
	if w.left == 0 {
		return errors.New("there are more streams than the header says")
	}
	w.left--
	if err := send(data{w}); err != nil {
		return err
	}
	return w.frame(kindEnd, nil)
}

// data writes frames of data.
type data struct{ w *Writer }

func (d data) Write(b []byte) (int, error) {
	n := 0
	for len(b) > 0 {
		part := b[:min(len(b), maxFrame)]
		d.w.sum.Write(part)
		if err := d.w.frame(kindData, part); err != nil {
			return n, err
		}
		n, b = n+len(part), b[len(part):]
	}
	return n, nil
}

func (w *Writer) frame(kind byte, content []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(content))) //nolint:gosec // less than maxFrame
	crc := crc32.Update(crc32.Checksum(head, castagnoli()), castagnoli(), content)
	for _, part := range [][]byte{head, content, binary.BigEndian.AppendUint32(nil, crc)} {
		if _, err := w.z.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Close writes the end, if all streams were written; without it a file is refused.
func (w *Writer) Close() error {
	var err error
	if w.left == 0 {
		err = w.frame(kindLast, w.sum.Sum(nil))
	}
	return errors.Join(err, w.z.Close())
}
