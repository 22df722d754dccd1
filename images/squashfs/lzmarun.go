package squashfs

import (
	"encoding/binary"
	"math/bits"
)

// run decodes until dst is full up to end, with marker set to the marker of the end, and
// says whether it came to that; limit is where the input ends. An error of that is
// errTooLong where more data follows.
func (z *lzma) run(end, limit int, marker bool) (marked bool, err error) {
	dst, src, d, s := z.dst[:end], z.src, z.d, z.s
	rng, code, state := z.rng, z.code, z.state
	rep0, rep1, rep2, rep3 := z.rep0, z.rep1, z.rep2, z.rep3
	lc, lpMask, pbMask := z.lc&7, z.lpMask, z.pbMask&(lzmaPosStates-1)
	if state >= 7 && uint32(d) <= rep0 {
		return false, errDamaged // no such byte for a literal after a match
	}
	for d < end || marker {
		if s > limit {
			return false, errDamaged
		}
		pos := uint32(d) & pbMask
		var zero bool
		rng, code, s = lzmaNormalize(rng, code, src, s)
		if rng, code, zero = lzmaChoice(rng, code, &z.isMatch[state][pos]); zero {
			if d >= end {
				return false, errTooLong
			}
			previous := uint32(0)
			if d > 0 {
				previous = uint32(dst[d-1])
			}
			probs := &z.literal[((uint32(d)&lpMask)<<lc+previous>>(8-lc))&(1<<lzmaMaxContext-1)]
			next := lzmaNext(src, s)
			var sym uint32
			if state < 7 {
				sym, rng, code, next = lzmaTree(probs[:], 0x100, rng, code, next)
				state = max(state, 3) - 3
			} else {
				sym, rng, code, next = lzmaMatched(probs, uint32(dst[d-int(rep0)-1]), rng, code, next)
				if state -= 3; state >= 7 {
					state -= 3
				}
			}
			s += lzmaUsed(next)
			dst[d] = byte(sym)
			d++
			continue
		}

		// A match: with a distance of its own, or with one of the last ones.
		length, after := &z.matchLen, uint32(7)
		rng, code, s = lzmaNormalize(rng, code, src, s)
		if rng, code, zero = lzmaChoice(rng, code, &z.isRep[state]); zero {
			rep3, rep2, rep1 = rep2, rep1, rep0
		} else {
			length, after = &z.repLen, 8
			rng, code, s = lzmaNormalize(rng, code, src, s)
			if rng, code, zero = lzmaChoice(rng, code, &z.isRep0[state]); zero {
				rng, code, s = lzmaNormalize(rng, code, src, s)
				if rng, code, zero = lzmaChoice(rng, code, &z.isRep0Long[state][pos]); zero {
					if uint32(d) <= rep0 {
						return false, errDamaged
					}
					if d >= end {
						return false, errTooLong
					}
					dst[d] = dst[d-int(rep0)-1]
					d++
					if state < 7 {
						state = 9
					} else {
						state = 11
					}
					continue
				}
			} else {
				rng, code, s = lzmaNormalize(rng, code, src, s)
				if rng, code, zero = lzmaChoice(rng, code, &z.isRep1[state]); zero {
					rep0, rep1 = rep1, rep0
				} else {
					rng, code, s = lzmaNormalize(rng, code, src, s)
					if rng, code, zero = lzmaChoice(rng, code, &z.isRep2[state]); zero {
						rep0, rep1, rep2 = rep2, rep0, rep1
					} else {
						rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
					}
				}
			}
		}
		var n uint32
		n, rng, code, s = length.decode(pos, rng, code, src, s)
		if after == 7 {
			rep0, rng, code, s = z.distance(n, rng, code, src, s)
		}
		if state < 7 {
			state = after
		} else {
			state = 10 + (after - 7)
		}

		if uint32(d) <= rep0 {
			if marked = marker && rep0 == lzmaEndMarker && after == 7; marked {
				break
			}
			return false, errDamaged
		}
		if int(n) > end-d {
			return false, errTooLong
		}
		from, to := d-int(rep0)-1, d+int(n)
		if rep0 >= 7 && to+8 <= end { // eight at a time, and what is too much is written over
			for ; d < to; d, from = d+8, from+8 {
				binary.LittleEndian.PutUint64(dst[d:], binary.LittleEndian.Uint64(dst[from:]))
			}
		} else {
			for ; d < to; d, from = d+1, from+1 {
				dst[d] = dst[from]
			}
		}
		d = to
	}
	rng, code, s = lzmaNormalize(rng, code, src, s)
	if s > limit {
		return false, errDamaged
	}
	z.d, z.s, z.rng, z.code, z.state = d, s, rng, code, state
	z.rep0, z.rep1, z.rep2, z.rep3 = rep0, rep1, rep2, rep3
	return marked, nil
}

// decode decodes the length of a match.
func (l *lzmaLen) decode(pos, rng, code uint32, src []byte, s int) (n, r, c uint32, t int) {
	pos &= lzmaPosStates - 1
	tree, end, base := l.high[:], uint32(1<<8), uint32(16)
	var zero bool
	rng, code, s = lzmaNormalize(rng, code, src, s)
	if rng, code, zero = lzmaChoice(rng, code, &l.choice); zero {
		tree, end, base = l.low[pos][:], 1<<3, 0
	} else {
		rng, code, s = lzmaNormalize(rng, code, src, s)
		if rng, code, zero = lzmaChoice(rng, code, &l.choice2); zero {
			tree, end, base = l.mid[pos][:], 1<<3, 8
		}
	}
	n, rng, code, next := lzmaTree(tree, end, rng, code, lzmaNext(src, s))
	return n - end + base + lzmaMatchMin, rng, code, s + lzmaUsed(next)
}

// distance decodes the distance, less one, of a match of length n.
func (z *lzma) distance(n, rng, code uint32, src []byte, s int) (distance, r, c uint32, t int) {
	slot, rng, code, next := lzmaTree(z.slots[min(n-lzmaMatchMin, lzmaLenStates-1)][:], 64, rng, code, lzmaNext(src, s))
	s += lzmaUsed(next)
	slot -= 64
	if slot < 4 {
		return slot, rng, code, s
	}
	low := slot>>1 - 1 // how many bits follow
	distance = 2 | slot&1
	var probs []uint16
	if slot < lzmaEndPos {
		distance <<= low
		probs = z.positions[distance-slot:]
	} else {
		distance, rng, code, s = lzmaDirect(distance, low-lzmaAlignBits, rng, code, src, s)
		distance <<= lzmaAlignBits
		probs, low = z.align[:], lzmaAlignBits
	}
	last, rng, code, next := lzmaTree(probs, 1<<low, rng, code, lzmaNext(src, s))
	lowestFirst := uint32(bits.Reverse8(uint8(last) << (8 - low))) // at most five bits
	return distance + lowestFirst, rng, code, s + lzmaUsed(next)
}
