package squashfs

import (
	"encoding/binary"
)

// Sizes of LZMA's model (LZMA specification, lzma-specification.txt of the LZMA
// SDK, public domain).
const (
	lzmaHeader     = 13 // properties, dictionary size, length
	lzmaStart      = 5  // bytes that the range decoder begins with
	lzmaStates     = 12
	lzmaPosStates  = 16
	lzmaLenStates  = 4
	lzmaEndPos     = 14 // slots from here on have direct bits
	lzmaFullDist   = 128
	lzmaAlignBits  = 4
	lzmaMatchMin   = 2
	lzmaLiteral    = 0x300 // probabilities of a literal
	lzmaProbInit   = 1024  // one half of 1<<11
	lzmaNoLength   = ^uint64(0)
	lzmaMaxContext = 4 // lc + lp; more would only cost memory, and nothing writes it
)

// lzmaDecoder decodes files in the format LZMA_alone, which is what a squashfs with
// lzma holds.
type lzmaDecoder struct{ z lzma }

func (l *lzmaDecoder) close() {}

func (l *lzmaDecoder) decode(dst, src []byte) (int, error) {
	z := &l.z
	if len(src) < lzmaHeader+lzmaStart {
		return 0, errDamaged
	}
	size := binary.LittleEndian.Uint64(src[5:])
	if !z.setProperties(src[0]) {
		return 0, errDamaged
	}
	known := size != lzmaNoLength
	if known {
		if size > uint64(len(dst)) {
			return 0, errTooLong
		}
		dst = dst[:size]
	}
	z.reset()
	if !z.begin(src[lzmaHeader:]) {
		return 0, errDamaged
	}
	z.dst, z.d = dst, 0
	err := z.run(true, known)
	return z.d, err
}

// lzmaLen is the model of a length.
type lzmaLen struct {
	choice, choice2 uint16
	low, mid        [lzmaPosStates][8]uint16
	high            [256]uint16
}

// lzma is the state of a decoder. What it decodes is its dictionary as well: there is
// no other.
type lzma struct {
	dst, src []byte
	d        int
	coder    rangeCoder

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
	literal                       [lzmaLiteral << lzmaMaxContext]uint16
	literals                      int // that are in use
}

// setProperties takes the byte of lc, lp and pb, and says whether they can be.
func (z *lzma) setProperties(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	lc, lp, pb := uint(b%9), uint(b/9%5), uint(b/45)
	if lc+lp > lzmaMaxContext {
		return false
	}
	z.lc, z.lpMask, z.pbMask, z.literals = lc, 1<<lp-1, 1<<pb-1, lzmaLiteral<<(lc+lp)
	return true
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
	for _, p := range [][]uint16{z.isRep[:], z.isRep0[:], z.isRep1[:], z.isRep2[:], z.positions[:], z.align[:], z.literal[:z.literals]} {
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
	z.state, z.reps = 0, [4]uint32{}
}

// begin takes the first bytes of an input, and says whether they can be.
func (z *lzma) begin(src []byte) bool {
	if len(src) < lzmaStart || src[0] != 0 {
		return false
	}
	z.src = src
	z.coder = rangeCoder{rng: ^uint32(0), code: binary.BigEndian.Uint32(src[1:]), at: lzmaStart}
	return true
}

// run decodes until dst is full. Where there may be a marker at the end, that ends it:
// it has to come if it is not known that dst is as long as what is to come.
func (z *lzma) run(marker, known bool) error {
	dst, src, coder, state, d := z.dst, z.src, z.coder, z.state, z.d
	for d < len(dst) || marker {
		if d == len(dst) && known {
			if coder = coder.normalized(src); coder.code == 0 {
				break
			}
		}
		if coder.at > uint(len(src)) {
			return errDamaged
		}
		pos := d & z.pbMask
		var match bool
		if coder, match = coder.normalized(src).bit(&z.isMatch[state][pos]); !match {
			if d == len(dst) {
				return full(known)
			}
			var b uint32
			if probs := z.literalAt(d); state >= 7 {
				coder, b = coder.matched(src, probs, uint32(dst[d-int(z.reps[0])-1]))
			} else {
				coder, b = coder.tree(src, probs[:0x100])
			}
			dst[d] = byte(b)
			d++
			state = lzmaAfterLiteral(state)
			continue
		}
		z.coder, z.state = coder, state
		n := z.match(pos)
		coder, state = z.coder, z.state
		back := z.reps[0]
		if marker && back == ^uint32(0) {
			if known && d != len(dst) {
				return errDamaged
			}
			break
		}
		if uint(back) >= uint(d) {
			return errDamaged
		}
		if n > len(dst)-d {
			return full(known)
		}
		repeatMatch(dst, d, int(back)+1, n)
		d += n
	}
	if coder.at > uint(len(src)) {
		return errDamaged
	}
	z.coder, z.state, z.d = coder, state, d
	return nil
}

// repeatMatch is copyMatch, faster for the short ones that most are: in steps of 8 bytes,
// the last of which may write behind the end what is written over later.
func repeatMatch(dst []byte, at, distance, n int) {
	if distance < 8 || len(dst)-at < n+8 {
		copyMatch(dst, at, distance, n)
		return
	}
	for end := at + n; at < end; at += 8 {
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(dst[at-distance:]))
	}
}

// full is what more data than there may be means: where its length was told it
// contradicts that.
func full(known bool) error {
	if known {
		return errDamaged
	}
	return errTooLong
}

// literalAt is the model of the literal at a place.
func (z *lzma) literalAt(d int) *[lzmaLiteral]uint16 {
	previous := 0
	if d > 0 {
		previous = int(z.dst[d-1])
	}
	context := (d&z.lpMask)<<z.lc + previous>>(8-z.lc)
	return (*[lzmaLiteral]uint16)(z.literal[lzmaLiteral*context:])
}

// lzmaAfterLiteral is the state after a literal.
func lzmaAfterLiteral(state int) int {
	switch {
	case state < 4:
		return 0
	case state < 10:
		return state - 3
	}
	return state - 6
}

// lzmaNext is the state after a match: one for after a literal, one for after
// something else.
func lzmaNext(state, literal, other int) int {
	if state < 7 {
		return literal
	}
	return other
}

// match decodes the rest of a match: its distance less one into reps[0], and gives its
// length.
func (z *lzma) match(pos int) int {
	coder, src, state := z.coder, z.src, z.state
	coder, repeated := coder.normalized(src).bit(&z.isRep[state])
	if !repeated {
		z.reps[3], z.reps[2], z.reps[1] = z.reps[2], z.reps[1], z.reps[0]
		coder, n := z.matchLen.decode(coder, src, pos)
		z.coder, z.reps[0] = z.distance(coder, src, n)
		z.state = lzmaNext(state, 7, 10)
		return n + lzmaMatchMin
	}
	coder, older := coder.normalized(src).bit(&z.isRep0[state])
	if older {
		coder = z.repeat(coder)
	} else {
		var long bool
		if coder, long = coder.normalized(src).bit(&z.isRep0Long[state][pos]); !long {
			z.coder, z.state = coder, lzmaNext(state, 9, 11)
			return 1
		}
	}
	coder, n := z.repLen.decode(coder, src, pos)
	z.coder, z.state = coder, lzmaNext(state, 8, 11)
	return n + lzmaMatchMin
}

// repeat moves an older distance to the front.
func (z *lzma) repeat(coder rangeCoder) rangeCoder {
	i := 1
	coder, more := coder.normalized(z.src).bit(&z.isRep1[z.state])
	if more {
		i = 2
		if coder, more = coder.normalized(z.src).bit(&z.isRep2[z.state]); more {
			i = 3
		}
	}
	distance := z.reps[i]
	copy(z.reps[1:i+1], z.reps[:i])
	z.reps[0] = distance
	return coder
}

func (l *lzmaLen) decode(coder rangeCoder, src []byte, pos int) (rangeCoder, int) {
	coder, more := coder.normalized(src).bit(&l.choice)
	if !more {
		coder, leaf := coder.tree(src, l.low[pos][:])
		return coder, int(leaf) - len(l.low[pos])
	}
	if coder, more = coder.normalized(src).bit(&l.choice2); !more {
		coder, leaf := coder.tree(src, l.mid[pos][:])
		return coder, 8 + int(leaf) - len(l.mid[pos])
	}
	coder, leaf := coder.tree(src, l.high[:])
	return coder, 16 + int(leaf) - len(l.high)
}

// distance decodes the distance of a match whose length is n + 2, less one.
func (z *lzma) distance(coder rangeCoder, src []byte, n int) (rangeCoder, uint32) {
	slots := &z.slots[min(n, lzmaLenStates-1)]
	coder, leaf := coder.tree(src, slots[:])
	slot := leaf - uint32(len(slots))
	if slot < 4 {
		return coder, slot
	}
	bits := int(slot>>1) - 1
	d := (2 | slot&1) << bits
	if slot < lzmaEndPos {
		coder, low := coder.reverse(src, z.positions[d-slot:], bits)
		return coder, d + low
	}
	coder, high := coder.direct(src, bits-lzmaAlignBits)
	coder, low := coder.reverse(src, z.align[:], lzmaAlignBits)
	return coder, d + high<<lzmaAlignBits + low
}
