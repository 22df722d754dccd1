package squashfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/mikelolasagasti/xz"
)

// Parts of an .xz stream (xz-file-format.txt of XZ Utils, public domain).
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzHeaderSize  = 12
	xzCheckCRC32  = 1
	xzCheckSize   = 4 // of a CRC32
	xzHasStored   = 0x40
	xzHasLength   = 0x80
	xzFilterLZMA2 = 0x21
)

// xzDecoder decodes .xz streams. Those that mksquashfs makes without a filter for machine
// code are one block of LZMA2 with a CRC32, which it decodes itself, faster than the xz
// program and without the way there and back. What is otherwise, damaged too, it leaves to
// the library.
type xzDecoder struct {
	z     lzma
	want  []byte
	other *xz.Reader
	src   bytes.Reader
}

func (x *xzDecoder) close() {}

func (x *xzDecoder) decode(dst, src []byte) (int, error) {
	if n, ok := x.single(dst, src); ok {
		return n, nil
	}
	if x.other == nil {
		z, err := xz.NewReader(nil, maxDictionary)
		if err != nil {
			return 0, err
		}
		z.Multistream(false)
		x.other = z
	}
	x.src.Reset(src)
	if err := x.other.Reset(&x.src); err != nil {
		return 0, err
	}
	return readBlock(x.other, dst)
}

// single decodes a stream of one block of LZMA2, and says whether src is one.
func (x *xzDecoder) single(dst, src []byte) (n int, ok bool) {
	head := xzBlockHeader(src)
	lengths, ok := xzLengths(head)
	if !ok {
		return 0, false
	}
	data := src[xzHeaderSize+len(head):]
	n, stored, err := x.z.lzma2(dst, data)
	if err != nil {
		return 0, false
	}
	// All the rest has to be this.
	b := x.want[:0]
	if head[1]&xzHasStored != 0 {
		b = binary.AppendUvarint(b, uint64(stored))
	}
	if head[1]&xzHasLength != 0 {
		b = binary.AppendUvarint(b, uint64(n))
	}
	if !bytes.Equal(b, lengths) {
		return 0, false
	}
	b = append(b[:0], make([]byte, -stored&3)...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(dst[:n]))
	x.want = xzAppendIndex(b, uint64(len(head)+stored+xzCheckSize), uint64(n))
	return n, bytes.Equal(data[stored:], x.want)
}

// xzAppendIndex appends the index of one block, and the end of the stream.
func xzAppendIndex(b []byte, unpadded, length uint64) []byte {
	begin := len(b)
	b = append(b, 0, 1)
	b = binary.AppendUvarint(b, unpadded)
	b = binary.AppendUvarint(b, length)
	b = append(b, make([]byte, (begin-len(b))&3)...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[begin:]))
	var foot [6]byte
	binary.LittleEndian.PutUint32(foot[:], uint32((len(b)-begin)/4-1))
	foot[5] = xzCheckCRC32
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(foot[:]))
	return append(append(b, foot[:]...), xzFooterMagic...)
}

// xzBlockHeader is the header of the first block of a stream with CRC32s; nil where that
// is not what src is.
func xzBlockHeader(src []byte) []byte {
	if len(src) <= xzHeaderSize || string(src[:len(xzMagic)]) != xzMagic {
		return nil
	}
	flags, rest := src[6:8], src[xzHeaderSize:]
	if flags[0] != 0 || flags[1] != xzCheckCRC32 || binary.LittleEndian.Uint32(src[8:]) != crc32.ChecksumIEEE(flags) {
		return nil
	}
	size := (int(rest[0]) + 1) * 4
	if rest[0] == 0 || size > len(rest) || binary.LittleEndian.Uint32(rest[size-4:]) != crc32.ChecksumIEEE(rest[:size-4]) {
		return nil
	}
	return rest[:size]
}

// xzLengths gives the fields of a block's header that tell its lengths, and says whether
// LZMA2 is its only filter.
func xzLengths(head []byte) (lengths []byte, ok bool) {
	if head == nil || head[1]&^(xzHasStored|xzHasLength) != 0 {
		return nil, false
	}
	fields := head[2 : len(head)-4]
	rest := fields
	for _, flag := range []byte{xzHasStored, xzHasLength} {
		if head[1]&flag == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return nil, false
		}
		rest = rest[n:]
	}
	// Behind the filter are one byte for the size of the dictionary, and padding.
	if len(rest) < 3 || rest[0] != xzFilterLZMA2 || rest[1] != 1 || len(bytes.Trim(rest[3:], "\x00")) > 0 {
		return nil, false
	}
	return fields[:len(fields)-len(rest)], true
}
