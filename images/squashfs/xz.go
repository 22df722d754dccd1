package squashfs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"

	"github.com/mikelolasagasti/xz"
)

// Parts of an .xz stream (xz-file-format.txt).
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	xzCheckNone  = 0
	xzCheckCRC32 = 1
	xzCheckCRC64 = 4
)

var xzCRC64 = crc64.MakeTable(crc64.ECMA)

// maxDictionary is the most memory in bytes that an xz block may ask its decoder
// for. mksquashfs's are no larger than a block (1 MiB).
const maxDictionary = 64 << 20

// xzDecoder decodes .xz streams. What mksquashfs makes unless it is asked for more, a
// stream of one block of LZMA2 alone, it decodes by itself; for what is not such, or
// is damaged, there is the general decoder.
type xzDecoder struct {
	vouched bool // the check of the content is not made
	lzma    lzma
	general *xz.Reader
	src     bytes.Reader
}

func newXZDecoder(vouched bool) (*xzDecoder, error) {
	z, err := xz.NewReader(nil, maxDictionary)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &xzDecoder{vouched: vouched, general: z}, nil
}

func (x *xzDecoder) decode(dst, src []byte) (int, error) {
	if n, ok := x.simple(dst, src); ok {
		return n, nil
	}
	x.src.Reset(src)
	if err := x.general.Reset(&x.src); err != nil {
		return 0, err
	}
	return readBlock(x.general, dst)
}

func (x *xzDecoder) close() {}

// simple decodes a stream of one block of LZMA2.
func (x *xzDecoder) simple(dst, src []byte) (n int, ok bool) {
	if len(src) < 2*xzHeaderSize+xzFooterSize || string(src[:7]) != "\xfd7zXZ\x00\x00" || !xzCRC(src[6:8], src[8:]) {
		return 0, false
	}
	check, size := src[7], 0
	switch check {
	case xzCheckNone:
	case xzCheckCRC32:
		size = 4
	case xzCheckCRC64:
		size = 8
	default:
		return 0, false
	}
	head, ok := parseXZBlock(src[xzHeaderSize : len(src)-xzFooterSize])
	if !ok {
		return 0, false
	}
	begin, end := xzHeaderSize+head.size, len(src)-xzFooterSize-size
	x.lzma.load(src)
	x.lzma.s = begin
	if n, ok = x.lzma.two(dst, end); !ok {
		return 0, false
	}
	stored := x.lzma.s - begin
	if head.stored >= 0 && head.stored != stored || head.length >= 0 && head.length != n {
		return 0, false
	}
	at := begin + (stored+3)&^3
	if at > end || len(bytes.Trim(src[begin+stored:at], "\x00")) > 0 {
		return 0, false
	}
	if !x.vouched && !xzChecks(check, dst[:n], src[at:at+size]) {
		return 0, false
	}
	return n, xzEnds(src[at+size:], src[6:8], head.size+stored+size, n)
}

// xzBlock is the header of a block.
type xzBlock struct {
	size           int // of the header itself
	stored, length int // of the block compressed and not; -1 where it does not say
}

// parseXZBlock reads the header of a block at the beginning of b, whose only filter is
// LZMA2.
func parseXZBlock(b []byte) (h xzBlock, ok bool) {
	h.size = (int(b[0]) + 1) * 4
	if b[0] == 0 || h.size > len(b) || !xzCRC(b[:h.size-4], b[h.size-4:]) {
		return h, false
	}
	h.stored, h.length = -1, -1
	rest := b[2 : h.size-4]
	for _, field := range []struct {
		flag byte
		to   *int
	}{{0x40, &h.stored}, {0x80, &h.length}} {
		if b[1]&field.flag != 0 {
			v, n := binary.Uvarint(rest)
			if n <= 0 || v > 1<<30 {
				return h, false
			}
			*field.to, rest = int(v), rest[n:]
		}
	}
	// The other flags are how many filters there are besides the first. A filter's property is
	// how large the dictionary is, which here is the block.
	ok = b[1]&^0xc0 == 0 && len(rest) >= 3 && string(rest[:2]) == "\x21\x01" && rest[2] <= 40 && len(bytes.Trim(rest[3:], "\x00")) == 0
	return h, ok
}

// xzChecks verifies the check of a block's content.
func xzChecks(check byte, content, sum []byte) bool {
	switch check {
	case xzCheckCRC32:
		return xzCRC(content, sum)
	case xzCheckCRC64:
		return crc64.Checksum(content, xzCRC64) == binary.LittleEndian.Uint64(sum)
	}
	return true
}

// xzCRC says whether sum begins with the CRC32 of b.
func xzCRC(b, sum []byte) bool { return crc32.ChecksumIEEE(b) == binary.LittleEndian.Uint32(sum) }

// xzEnds verifies what follows the only block: the index, with the block's length without its padding and
// that of its content, and the footer.
func xzEnds(b, flags []byte, unpadded, length int) bool {
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(length))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	n := len(index)
	if len(b) != n+4+xzFooterSize || !bytes.Equal(b[:n], index) || !xzCRC(index, b[n:]) {
		return false
	}
	foot := b[n+4:]
	return xzCRC(foot[4:10], foot) && int(binary.LittleEndian.Uint32(foot[4:])) == (n+4)/4-1 &&
		bytes.Equal(foot[8:10], flags) && string(foot[10:]) == "YZ"
}

// two decodes LZMA2 from where the input stands, before limit, and gives the length.
func (z *lzma) two(dst []byte, limit int) (n int, ok bool) {
	z.dst, z.d = dst, 0
	fresh := true // nothing has been reset yet
	for z.s < limit {
		control := z.src[z.s]
		size := 1 + int(binary.BigEndian.Uint16(z.src[z.s+1:]))
		switch {
		case control == 0:
			z.s++
			return z.d, true
		case control >= 0x80:
			size += int(control&0x1f) << 16
			ok = z.chunk(control, size, limit, fresh)
			fresh = false
		default:
			z.s += 3
			// A dictionary that begins anew in the middle is possible, but nothing makes it.
			if ok = control == 1 && z.d == 0 || control == 2 && z.d > 0; ok {
				ok = size <= len(dst)-z.d && size <= limit-z.s
			}
			if ok {
				z.d += copy(dst[z.d:], z.src[z.s:z.s+size])
				z.s += size
			}
		}
		if !ok {
			return 0, false
		}
	}
	return 0, false
}

// chunk decodes a chunk of LZMA, which decompresses to size bytes; first says that it is the first of
// LZMA in a block.
func (z *lzma) chunk(control byte, size, limit int, first bool) bool {
	stored := 1 + int(binary.BigEndian.Uint16(z.src[z.s+3:]))
	z.s += 5
	what := control >> 5 & 3 // is reset: 0 nothing, 1 the state, 2 with new properties, 3 and the dictionary
	if (what == 3) != (z.d == 0) || first && what < 2 || size > len(z.dst)-z.d {
		return false
	}
	if what >= 2 {
		if z.properties(z.src[z.s]) != nil {
			return false
		}
		z.s++
	}
	if what >= 1 {
		z.reset()
	}
	end := z.s + stored
	if stored < 5 || end > limit || z.begin() != nil {
		return false
	}
	_, err := z.run(z.d+size, end, false)
	return err == nil && z.s == end && z.code == 0
}
