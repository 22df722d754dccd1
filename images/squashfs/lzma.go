package squashfs

import "encoding/binary"

// Sizes of LZMA's model (LZMA specification, lzma-specification.txt of the LZMA
// SDK, public domain).
const (
	lzmaHeader     = 13 // properties, dictionary size, length
	lzmaStates     = 12
	lzmaPosStates  = 16
	lzmaLenStates  = 4
	lzmaEndPos     = 14 // slots from here on have direct bits
	lzmaFullDist   = 128
	lzmaAlignBits  = 4
	lzmaMatchMin   = 2
	lzmaProbInit   = 1024 // one half of 1<<11
	lzmaTop        = 1 << 24
	lzmaNoLength   = ^uint64(0)
	lzmaMaxContext = 4 // lc + lp; more would only cost memory, and nothing writes it
)

// lzmaDecode decodes a file in the format LZMA_alone, which is what a squashfs
// with lzma holds, into dst and returns its length.
func lzmaDecode(dst, src []byte) (int, error) {
	if len(src) < lzmaHeader+5 {
		return 0, errDamaged
	}
	props := src[0]
	size := binary.LittleEndian.Uint64(src[5:])
	if props >= 9*5*5 || src[lzmaHeader] != 0 {
		return 0, errDamaged
	}
	if size != lzmaNoLength && size > uint64(len(dst)) {
		return 0, errTooLong
	}
	lc, lp, pb := uint(props%9), uint(props/9%5), uint(props/45)
	if lc+lp > lzmaMaxContext {
		return 0, errDamaged
	}
	z := &lzma{dst: dst, src: src, s: lzmaHeader + 5, rng: ^uint32(0), lc: lc, lpMask: 1<<lp - 1, pbMask: 1<<pb - 1}
	z.code = binary.BigEndian.Uint32(src[lzmaHeader+1:])
	if size != lzmaNoLength {
		z.dst = dst[:size]
	}
	z.literal = make([]uint16, 0x300<<(lc+lp))
	z.reset()
	if err := z.run(size != lzmaNoLength); err != nil {
		return 0, err
	}
	return z.d, nil
}

// lzmaLen is the model of a length.
type lzmaLen struct {
	choice, choice2 uint16
	low, mid        [lzmaPosStates][8]uint16
	high            [256]uint16
}

// lzma is the state of a decoder.
type lzma struct {
	dst, src  []byte
	d, s      int
	rng, code uint32
	over      bool // read past the end

	lc             uint
	lpMask, pbMask int
	state          int
	reps           [4]uint32

	isMatch, isRep0Long           [lzmaStates][lzmaPosStates]uint16
	isRep, isRep0, isRep1, isRep2 [lzmaStates]uint16
	slots                         [lzmaLenStates][64]uint16
	positions                     [1 + lzmaFullDist - lzmaEndPos]uint16
	align                         [1 << lzmaAlignBits]uint16
	matchLen, repLen              lzmaLen
	literal                       []uint16
}

// reset sets all probabilities to one half.
func (z *lzma) reset() {
	fill := func(p []uint16) {
		for i := range p {
			p[i] = lzmaProbInit
		}
	}
	for i := range z.isMatch {
		fill(z.isMatch[i][:])
		fill(z.isRep0Long[i][:])
	}
	for _, p := range [][]uint16{z.isRep[:], z.isRep0[:], z.isRep1[:], z.isRep2[:], z.positions[:], z.align[:], z.literal} {
		fill(p)
	}
	for i := range z.slots {
		fill(z.slots[i][:])
	}
	for _, l := range []*lzmaLen{&z.matchLen, &z.repLen} {
		l.choice, l.choice2 = lzmaProbInit, lzmaProbInit
		for i := range l.low {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
		fill(l.high[:])
	}
}

// run decodes until dst is full, if the length is known, or to the end marker.
func (z *lzma) run(known bool) error {
	for {
		if known && z.d == len(z.dst) && z.code == 0 {
			return nil
		}
		if z.over {
			return errDamaged
		}
		pos := z.d & z.pbMask
		if z.bit(&z.isMatch[z.state][pos]) == 0 {
			if z.d == len(z.dst) {
				return z.full(known)
			}
			z.putLiteral()
			continue
		}
		n, end, err := z.matchLength(pos)
		switch {
		case err != nil:
			return err
		case end:
			if z.over || known && z.d != len(z.dst) {
				return errDamaged
			}
			return nil
		case int64(z.reps[0]) >= int64(z.d):
			return errDamaged
		case n > len(z.dst)-z.d:
			return z.full(known)
		}
		copyMatch(z.dst, z.d, int(z.reps[0])+1, n)
		z.d += n
	}
}

// full is what more data than there may be means: after a length in the header
// it contradicts that.
func (z *lzma) full(known bool) error {
	if known || z.over {
		return errDamaged
	}
	return errTooLong
}

// matchLength decodes the rest of a match: its distance into reps[0], and gives
// its length. end is the marker of the end.
func (z *lzma) matchLength(pos int) (n int, end bool, err error) {
	if z.bit(&z.isRep[z.state]) == 0 {
		z.reps[3], z.reps[2], z.reps[1] = z.reps[2], z.reps[1], z.reps[0]
		n = z.length(&z.matchLen, pos)
		z.state = lzmaNext(z.state, 7, 10)
		z.reps[0] = z.distance(n)
		return n + lzmaMatchMin, z.reps[0] == ^uint32(0), nil
	}
	if z.d == 0 {
		return 0, false, errDamaged
	}
	if z.bit(&z.isRep0[z.state]) == 0 {
		if z.bit(&z.isRep0Long[z.state][pos]) == 0 {
			z.state = lzmaNext(z.state, 9, 11)
			return 1, false, nil
		}
	} else {
		z.repeat()
	}
	n = z.length(&z.repLen, pos)
	z.state = lzmaNext(z.state, 8, 11)
	return n + lzmaMatchMin, false, nil
}

// lzmaNext is the state after a match: one for after a literal, one for after
// something else.
func lzmaNext(state, literal, other int) int {
	if state < 7 {
		return literal
	}
	return other
}

// repeat moves an older distance to the front.
func (z *lzma) repeat() {
	i := 1
	if z.bit(&z.isRep1[z.state]) != 0 {
		i = 2
		if z.bit(&z.isRep2[z.state]) != 0 {
			i = 3
		}
	}
	distance := z.reps[i]
	copy(z.reps[1:i+1], z.reps[:i])
	z.reps[0] = distance
}

// bit decodes one bit by an adaptive probability.
func (z *lzma) bit(prob *uint16) uint32 {
	p := uint32(*prob)
	bound := (z.rng >> 11) * p
	var b uint32
	if z.code < bound {
		z.rng = bound
		*prob = uint16(p + (2048-p)>>5)
	} else {
		z.rng -= bound
		z.code -= bound
		*prob = uint16(p - p>>5)
		b = 1
	}
	z.normalize()
	return b
}

func (z *lzma) normalize() {
	if z.rng >= lzmaTop {
		return
	}
	z.rng <<= 8
	z.code <<= 8
	if z.s < len(z.src) {
		z.code |= uint32(z.src[z.s])
		z.s++
	} else {
		z.over = true
	}
}

// direct decodes bits of probability one half.
func (z *lzma) direct(n int) uint32 {
	var v uint32
	for range n {
		z.rng >>= 1
		v <<= 1
		if z.code >= z.rng {
			z.code -= z.rng
			v |= 1
		}
		z.normalize()
	}
	return v
}

// tree decodes n bits by a binary tree of probabilities.
func (z *lzma) tree(probs []uint16, n int) uint32 {
	m := uint32(1)
	for range n {
		m = m<<1 | z.bit(&probs[m])
	}
	return m - 1<<n
}

// reverse is tree from the lowest bit on.
func (z *lzma) reverse(probs []uint16, n int) uint32 {
	m, v := uint32(1), uint32(0)
	for i := range n {
		b := z.bit(&probs[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}

func (z *lzma) length(l *lzmaLen, pos int) int {
	if z.bit(&l.choice) == 0 {
		return int(z.tree(l.low[pos][:], 3))
	}
	if z.bit(&l.choice2) == 0 {
		return 8 + int(z.tree(l.mid[pos][:], 3))
	}
	return 16 + int(z.tree(l.high[:], 8))
}

// distance decodes the distance of a match whose length is n + 2, less one.
func (z *lzma) distance(n int) uint32 {
	slot := z.tree(z.slots[min(n, lzmaLenStates-1)][:], 6)
	if slot < 4 {
		return slot
	}
	bits := int(slot>>1) - 1
	d := (2 | slot&1) << bits
	if slot < lzmaEndPos {
		return d + z.reverse(z.positions[d-slot:], bits)
	}
	d += z.direct(bits-lzmaAlignBits) << lzmaAlignBits
	return d + z.reverse(z.align[:], lzmaAlignBits)
}

func (z *lzma) putLiteral() {
	previous := 0
	if z.d > 0 {
		previous = int(z.dst[z.d-1])
	}
	context := (z.d&z.lpMask)<<z.lc + previous>>(8-z.lc)
	probs := z.literal[0x300*context:]
	m := uint32(1)
	if z.state >= 7 && int64(z.reps[0]) < int64(z.d) { // after a match: the byte at its distance helps
		match := uint32(z.dst[z.d-int(z.reps[0])-1])
		for m < 0x100 {
			hint := match >> 7 & 1
			match <<= 1
			b := z.bit(&probs[(1+hint)<<8+m])
			m = m<<1 | b
			if hint != b {
				break
			}
		}
	}
	for m < 0x100 {
		m = m<<1 | z.bit(&probs[m])
	}
	z.dst[z.d] = byte(m)
	z.d++
	switch {
	case z.state < 4:
		z.state = 0
	case z.state < 10:
		z.state -= 3
	default:
		z.state -= 6
	}
}
