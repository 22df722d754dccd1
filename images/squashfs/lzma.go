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
	lzmaEndMarker  = ^uint32(0) // in place of a distance
	lzmaMaxContext = 4          // lc + lp; more would only cost memory, and nothing writes it
	// lzmaSymbol is more bytes than one symbol takes of the input.
	lzmaSymbol = 64
)

// lzma decodes LZMA, one stream after the other. The output is the dictionary.
type lzma struct {
	dst, src  []byte // src has lzmaSymbol bytes more than it says
	d, s      int
	rng, code uint32

	lc, lpMask, pbMask     uint32
	state                  uint32
	rep0, rep1, rep2, rep3 uint32 // the last distances, less one

	isMatch, isRep0Long           [lzmaStates][lzmaPosStates]uint16
	isRep, isRep0, isRep1, isRep2 [lzmaStates]uint16
	slots                         [lzmaLenStates][64]uint16
	positions                     [lzmaFullDist]uint16
	align                         [1 << lzmaAlignBits]uint16
	matchLen, repLen              lzmaLen
	literal                       [1 << lzmaMaxContext][0x300]uint16
}

// lzmaLen is the model of a length.
type lzmaLen struct {
	choice, choice2 uint16
	low, mid        [lzmaPosStates][8]uint16
	high            [256]uint16
}

// load takes an input, from which nothing is read beyond its end.
func (z *lzma) load(src []byte) {
	z.src = append(append(z.src[:0], src...), make([]byte, lzmaSymbol)...)
	z.s = 0
}

// properties sets the byte that says how the model is made.
func (z *lzma) properties(b byte) error {
	lc, lp, pb := uint32(b%9), uint32(b/9%5), uint32(b/45)
	if b >= 9*5*5 || lc+lp > lzmaMaxContext {
		return errDamaged
	}
	z.lc, z.lpMask, z.pbMask = lc, 1<<lp-1, 1<<pb-1
	return nil
}

// begin reads the first bytes of the range coder, of which the very first is 0.
func (z *lzma) begin() error {
	b := z.src[z.s : z.s+5]
	if b[0] != 0 {
		return errDamaged
	}
	z.rng, z.code = ^uint32(0), binary.BigEndian.Uint32(b[1:])
	z.s += 5
	return nil
}

// reset forgets what was learned of the data.
func (z *lzma) reset() {
	fill := func(p []uint16) {
		for i := range p {
			p[i] = lzmaProbInit
		}
	}
	z.state, z.rep0, z.rep1, z.rep2, z.rep3 = 0, 0, 0, 0, 0
	for i := range z.isMatch {
		fill(z.isMatch[i][:])
		fill(z.isRep0Long[i][:])
	}
	for _, p := range [][]uint16{z.isRep[:], z.isRep0[:], z.isRep1[:], z.isRep2[:], z.positions[:], z.align[:]} {
		fill(p)
	}
	for i := range z.slots {
		fill(z.slots[i][:])
	}
	for i := range z.literal[:(z.lpMask+1)<<z.lc] {
		fill(z.literal[i][:])
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

// alone decodes a file in the format LZMA_alone, which is what a squashfs with lzma
// holds, into dst and returns its length.
func (z *lzma) alone(dst, src []byte) (int, error) {
	if len(src) < lzmaHeader+5 {
		return 0, errDamaged
	}
	size := binary.LittleEndian.Uint64(src[5:])
	known := size != lzmaNoLength
	if known && size > uint64(len(dst)) {
		return 0, errTooLong
	}
	if err := z.properties(src[0]); err != nil {
		return 0, err
	}
	z.load(src[lzmaHeader:])
	if err := z.begin(); err != nil {
		return 0, err
	}
	z.reset()
	z.dst, z.d = dst, 0
	if !known {
		_, err := z.run(len(dst), len(src)-lzmaHeader, true)
		return z.d, err
	}
	_, err := z.run(int(size), len(src)-lzmaHeader, false)
	if err == nil && z.code != 0 { // a marker follows
		_, err = z.run(int(size), len(src)-lzmaHeader, true)
	}
	if err == errTooLong { //nolint:errorlint // it contradicts the header
		err = errDamaged
	}
	return z.d, err
}
