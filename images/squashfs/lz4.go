package squashfs

import "encoding/binary"

// lz4Decode decodes one LZ4 block (lz4_Block_format.md of the lz4 project) into
// dst and returns its length. Each sequence is a token, literals, and a match of
// at least 4 bytes at a distance of 1 to 65535; the last one ends with its
// literals.
func lz4Decode(dst, src []byte) (int, error) {
	d, s := 0, 0
	for s < len(src) {
		token := int(src[s])
		s++
		n, next, ok := lz4Length(src, s, token>>4)
		if !ok || n > len(src)-next {
			return 0, errDamaged
		}
		if n > len(dst)-d {
			return 0, errTooLong
		}
		d += copy(dst[d:], src[next:next+n])
		if s = next + n; s == len(src) {
			return d, nil
		}
		if len(src)-s < 2 {
			return 0, errDamaged
		}
		distance := int(binary.LittleEndian.Uint16(src[s:]))
		n, s, ok = lz4Length(src, s+2, token&15)
		if !ok || distance == 0 || distance > d {
			return 0, errDamaged
		}
		if n += 4; n > len(dst)-d {
			return 0, errTooLong
		}
		copyMatch(dst, d, distance, n)
		d += n
	}
	return 0, errDamaged
}

// lz4Length reads what extends a length of 15: bytes to add, the last of them
// below 255.
func lz4Length(src []byte, s, n int) (length, next int, ok bool) {
	if n < 15 {
		return n, s, true
	}
	for s < len(src) {
		b := src[s]
		s++
		n += int(b)
		if b < 255 {
			return n, s, true
		}
	}
	return 0, s, false
}

// copyMatch repeats n bytes from distance before at; both may overlap. The caller
// has checked the bounds.
func copyMatch(dst []byte, at, distance, n int) {
	from := at - distance
	for n > 0 {
		c := copy(dst[at:at+n], dst[from:at])
		at, n = at+c, n-c
	}
}
