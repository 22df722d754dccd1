package squashfs

import "encoding/binary"

// Control bytes of a chunk of LZMA2 (linux lib/xz/xz_dec_lzma2.c). The others of a
// chunk that is compressed hold bits of its length.
const (
	lzma2End        = 0x00
	lzma2FreshPlain = 0x01 // not compressed, with a new dictionary
	lzma2Plain      = 0x02
	lzma2Compressed = 0x80 // from here on; each of the next ones means the former as well
	lzma2Reset      = 0xa0
	lzma2Properties = 0xc0
	lzma2Fresh      = 0xe0
)

// lzma2 decodes a stream of LZMA2 to its end, and says how long both are.
func (z *lzma) lzma2(dst, src []byte) (written, read int, err error) {
	in := &cursor{b: src}
	fresh, configured := false, false
	base := 0 // where the dictionary begins
	for {
		control := in.u8()
		if control == lzma2FreshPlain || control >= lzma2Fresh {
			base, fresh, configured = written, true, false
		}
		switch {
		case in.bad:
			return 0, 0, errDamaged
		case control == lzma2End:
			return written, len(src) - len(in.b), nil
		case !fresh || control > lzma2Plain && control < lzma2Compressed:
			return 0, 0, errDamaged
		}
		length := int(in.be16()) + 1
		if control >= lzma2Compressed {
			length += int(control&0x1f) << 16
		}
		if length > len(dst)-written {
			return 0, 0, errTooLong
		}
		if control < lzma2Compressed {
			chunk := in.take(length)
			if in.bad {
				return 0, 0, errDamaged
			}
			written += copy(dst[written:], chunk)
			continue
		}
		stored := int(in.be16()) + 1
		if control >= lzma2Properties {
			configured = z.setProperties(in.u8())
		}
		chunk := in.take(stored)
		if in.bad || !configured || !z.begin(chunk) {
			return 0, 0, errDamaged
		}
		if control >= lzma2Reset {
			z.reset()
		}
		z.dst, z.d = dst[base:written+length], written-base
		if err := z.run(false, true); err != nil {
			return 0, 0, err
		}
		if end := z.coder.normalized(chunk); end.code != 0 || end.at != uint(len(chunk)) {
			return 0, 0, errDamaged
		}
		written += length
	}
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) be16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}
