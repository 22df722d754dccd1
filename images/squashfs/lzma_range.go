package squashfs

// rangeCoder is the state of LZMA's range decoder (LZMA specification of the LZMA SDK,
// lzma-specification.txt, public domain). It goes by value from one function to the
// next, so that it stays in registers.
type rangeCoder struct {
	rng, code uint32
	at        uint // of the input's next byte; behind its end when more were needed
}

// lzmaTop is what the range must not be below when a bit is decoded.
const lzmaTop = 1 << 24

// normalized takes a byte from the input when one is needed for the next bit. It is not a
// part of bit for the compiler to put both in their callers' place.
func (r rangeCoder) normalized(src []byte) rangeCoder {
	if r.rng < lzmaTop {
		r.rng <<= 8
		r.code <<= 8
		if r.at < uint(len(src)) {
			r.code |= uint32(src[r.at])
		}
		r.at++
	}
	return r
}

// bit decodes one bit by an adaptive probability. The coder is normalized.
func (r rangeCoder) bit(prob *uint16) (rangeCoder, bool) {
	p := uint32(*prob)
	bound := r.rng >> 11 * p
	if r.code < bound {
		r.rng = bound
		*prob = uint16(p + (2048-p)>>5)
		return r, false
	}
	r.rng -= bound
	r.code -= bound
	*prob = uint16(p - p>>5)
	return r, true
}

// step is bit without a branch, for the bits of trees: they are hard to predict, and a
// wrong guess of the processor costs more than all of this. It takes the probability
// and gives the one that follows; zero is -1 for a bit of 0, and 0 for one of 1.
func (r rangeCoder) step(p uint32) (_ rangeCoder, next, zero uint32) {
	bound := r.rng >> 11 * p
	left := uint64(r.code) - uint64(bound)
	zero = uint32(int64(left) >> 63)
	r.rng -= bound
	r.rng += (bound - r.rng) & zero
	r.code = uint32(left) + bound&zero
	return r, p - uint32(int32(p+zero&(1<<32-2048+31))>>5), zero
}

// tree decodes the number of a leaf by a binary tree of probabilities, which are a
// power of two and are added to it. Step is written out in it and in matched, where most
// of the time goes: it leaves one value too many for the registers.
func (r rangeCoder) tree(src []byte, probs []uint16) (rangeCoder, uint32) {
	m := uint(1)
	for m < uint(len(probs)) {
		r = r.normalized(src)
		prob := &probs[m]
		p := uint32(*prob)
		bound := r.rng >> 11 * p
		left := uint64(r.code) - uint64(bound)
		zero := int64(left) >> 63
		m += m + 1 + uint(zero)
		*prob = uint16(p - uint32(int32(p+uint32(zero)&(1<<32-2048+31))>>5))
		r.rng -= bound
		r.rng += (bound - r.rng) & uint32(zero)
		r.code = uint32(left) + bound&uint32(zero)
	}
	return r, uint32(m)
}

// reverse is a tree's number of so many bits from the lowest bit on.
func (r rangeCoder) reverse(src []byte, probs []uint16, bits int) (rangeCoder, uint32) {
	m, v := uint32(1), uint32(0)
	for i := range bits {
		var next, zero uint32
		r, next, zero = r.normalized(src).step(uint32(probs[m]))
		probs[m] = uint16(next)
		m += m + 1 + zero
		v += (1 + zero) << i
	}
	return r, v
}

// matched decodes a literal after a match, where the byte match at the distance of that
// tells something: as long as their bits are the same it chooses the tree.
func (r rangeCoder) matched(src []byte, probs *[lzmaLiteral]uint16, match uint32) (rangeCoder, uint32) {
	m, same, hints := uint(1), uint(0x100), uint(match)
	for m < 0x100 {
		hints += hints
		hint := hints & same
		prob := &probs[same+hint+m]
		r = r.normalized(src)
		p := uint32(*prob)
		bound := r.rng >> 11 * p
		left := uint64(r.code) - uint64(bound)
		zero := int64(left) >> 63
		m += m + 1 + uint(zero)
		same &= hint ^ uint(zero)
		*prob = uint16(p - uint32(int32(p+uint32(zero)&(1<<32-2048+31))>>5))
		r.rng -= bound
		r.rng += (bound - r.rng) & uint32(zero)
		r.code = uint32(left) + bound&uint32(zero)
	}
	return r, uint32(m)
}

// direct decodes bits of probability one half.
func (r rangeCoder) direct(src []byte, bits int) (rangeCoder, uint32) {
	v := uint32(0)
	for range bits {
		r = r.normalized(src)
		r.rng >>= 1
		left := uint64(r.code) - uint64(r.rng)
		zero := uint32(int64(left) >> 63)
		r.code = uint32(left) + r.rng&zero
		v += v + 1 + zero
	}
	return r, v
}
