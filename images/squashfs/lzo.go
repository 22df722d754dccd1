package squashfs

import "encoding/binary"

// lzoDecode decodes one LZO1X stream into dst and returns its length. Written
// from the description of the format in the kernel's
// Documentation/staging/lzo.rst; the run-length variant (lzo-rle) does not occur
// in squashfs.
func lzoDecode(dst, src []byte) (int, error) {
	z := lzo{dst: dst, src: src}
	if len(src) > 0 && src[0] > 17 { // a first run of literals without a match
		n := int(src[0]) - 17
		z.s = 1
		if err := z.literals(n); err != nil {
			return 0, err
		}
		z.state = min(n, 4)
	}
	for {
		end, err := z.instruction()
		if err != nil {
			return 0, err
		}
		if end {
			if z.s != len(src) {
				return 0, errDamaged
			}
			return z.d, nil
		}
	}
}

// lzo is the state of a decoder: state is how many literals the last instruction
// copied (4 stands for four and more), on which the meaning of the next depends.
type lzo struct {
	dst, src []byte
	d, s     int
	state    int
}

// instruction carries out the next one; end is set by the marker of the end.
func (z *lzo) instruction() (end bool, err error) {
	b, err := z.next()
	if err != nil {
		return false, err
	}
	switch {
	case b < 16 && z.state == 0:
		return false, z.run(b)
	case b < 16:
		high, err := z.next()
		if err != nil {
			return false, err
		}
		distance, n := high<<2+b>>2+1, 2
		if z.state == 4 {
			distance, n = distance+2048, 3
		}
		return false, z.match(distance, n, b&3)
	case b < 32:
		n, v, err := z.long(b&7, 7)
		if err != nil {
			return false, err
		}
		distance := 16384 + (b&8)<<11 + v>>2
		if distance == 16384 {
			return true, nil
		}
		return false, z.match(distance, n, v&3)
	case b < 64:
		n, v, err := z.long(b&31, 31)
		if err != nil {
			return false, err
		}
		return false, z.match(v>>2+1, n, v&3)
	default:
		high, err := z.next()
		if err != nil {
			return false, err
		}
		return false, z.match(high<<3+b>>2&7+1, b>>5+1, b&3)
	}
}

func (z *lzo) next() (int, error) {
	if z.s >= len(z.src) {
		return 0, errDamaged
	}
	z.s++
	return int(z.src[z.s-1]), nil
}

// length reads what extends a length of 0: mask and 255 for each zero byte, and
// the first byte that is not zero.
func (z *lzo) length(n, mask int) (int, error) {
	if n != 0 {
		return n, nil
	}
	for n = mask; ; n += 255 {
		b, err := z.next()
		if err != nil {
			return 0, err
		}
		if b != 0 {
			return n + b, nil
		}
	}
}

// long reads the length and the 16 bits (distance, state) of the far matches.
func (z *lzo) long(n, mask int) (length, v int, err error) {
	if n, err = z.length(n, mask); err != nil {
		return 0, 0, err
	}
	if len(z.src)-z.s < 2 {
		return 0, 0, errDamaged
	}
	v = int(binary.LittleEndian.Uint16(z.src[z.s:]))
	z.s += 2
	return n + 2, v, nil
}

// run copies a long run of literals.
func (z *lzo) run(b int) error {
	n, err := z.length(b, 15)
	if err != nil {
		return err
	}
	z.state = 4
	return z.literals(n + 3)
}

func (z *lzo) literals(n int) error {
	if n > len(z.src)-z.s {
		return errDamaged
	}
	if n > len(z.dst)-z.d {
		return errTooLong
	}
	z.d += copy(z.dst[z.d:], z.src[z.s:z.s+n])
	z.s += n
	return nil
}

// match repeats n bytes from a distance, and then copies up to three literals.
func (z *lzo) match(distance, n, literals int) error {
	if distance > z.d {
		return errDamaged
	}
	if n > len(z.dst)-z.d {
		return errTooLong
	}
	copyMatch(z.dst, z.d, distance, n)
	z.d += n
	z.state = literals
	return z.literals(literals)
}
