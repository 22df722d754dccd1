package squashfs

import (
	"encoding/binary"
	"math/bits"
)

// What decodes bits is in small functions, as their values all stay in the processor's registers: in one large function they went
// through memory, bit for bit, and that took half as much time again. rng and code are the state of the range coder.
//
// Where several bits are decoded, next is the input from where it stands on (lzmaNext): as one word it takes one register. A bit
// takes 6.1 bits of the input at most, as a probability is never under 31/2048: eight of them take seven bytes at most.

// lzmaNext are the next seven bytes of the input, and a mark behind them.
func lzmaNext(src []byte, s int) uint64 { return binary.BigEndian.Uint64(src[s:])&^0xff | 1 }

// lzmaUsed is how many bytes are gone of what lzmaNext gave, of which next is left.
func lzmaUsed(next uint64) int { return bits.TrailingZeros64(next) >> 3 }

// lzmaNormalize makes room in the range coder.
func lzmaNormalize(rng, code uint32, src []byte, s int) (r, c uint32, t int) {
	if rng < lzmaTop {
		return rng << 8, code<<8 | uint32(src[s]), s + 1
	}
	return rng, code, s
}

// lzmaChoice decodes a bit by an adaptive probability, and says whether it is 0. It branches: these bits are foreseeable.
func lzmaChoice(rng, code uint32, prob *uint16) (r, c uint32, zero bool) {
	p := uint32(*prob)
	bound := (rng >> 11) * p
	if code < bound {
		*prob = uint16(p + (2048-p)>>5)
		return bound, code, true
	}
	*prob = uint16(p - p>>5)
	return rng - bound, code - bound, false
}

// lzmaBit decodes a bit by an adaptive probability, without a branch, which the processor would often take wrongly. zero has all
// bits set for a 0, and none for a 1.
func lzmaBit(rng, code uint32, prob *uint16) (r, c, zero uint32) {
	p := uint32(*prob)
	bound := (rng >> 11) * p
	diff := uint64(code) - uint64(bound)
	zero = uint32(diff >> 32)
	*prob = uint16(p - uint32(int32(p-zero&(2048-31))>>5))
	rest := rng - bound
	return rest ^ (rest^bound)&zero, uint32(diff) + bound&zero, zero
}

// lzmaAppend puts a bit behind a number; zero is as lzmaBit gives it.
func lzmaAppend(n, zero uint32) uint32 { return (n<<1 | 1) + zero }

// lzmaTree decodes the bits of a tree of probabilities, at most eight: until they make, with a one before them, a number from end
// on.
//
//go:noinline
func lzmaTree(probs []uint16, end, rng, code uint32, next uint64) (n, r, c uint32, rest uint64) {
	n = 1
	for n < end {
		if rng < lzmaTop {
			rng, code, next = rng<<8, code<<8|uint32(next>>56), next<<8
		}
		var zero uint32
		rng, code, zero = lzmaBit(rng, code, &probs[n])
		n = lzmaAppend(n, zero)
	}
	return n, rng, code, next
}

// lzmaMatched is lzmaTree of a literal after a match: the byte at the distance of that one helps, as long as it is the same.
//
//go:noinline
func lzmaMatched(probs *[0x300]uint16, match, rng, code uint32, next uint64) (n, r, c uint32, rest uint64) {
	n = 1
	for same := uint32(0x100); n < 0x100; {
		if rng < lzmaTop {
			rng, code, next = rng<<8, code<<8|uint32(next>>56), next<<8
		}
		match <<= 1
		hint := match & same
		var zero uint32
		rng, code, zero = lzmaBit(rng, code, &probs[same+hint+n])
		n = lzmaAppend(n, zero)
		same &= hint ^ zero
	}
	return n, rng, code, next
}

// lzmaDirect decodes bits that are as likely as not, and puts them behind a number.
//
//go:noinline
func lzmaDirect(n, count, rng, code uint32, src []byte, s int) (number, r, c uint32, t int) {
	for ; count > 0; count-- {
		rng, code, s = lzmaNormalize(rng, code, src, s)
		rng >>= 1
		code -= rng
		zero := -(code >> 31)
		code += rng & zero
		n = lzmaAppend(n, zero)
	}
	return n, rng, code, s
}
