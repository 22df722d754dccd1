package squashfs

import "encoding/binary"

// lzmaNormalize makes room in the range coder.
func lzmaNormalize(rng, code uint32, src []byte, s int) (r, c uint32, next int) {
	if rng < lzmaTop {
		return rng << 8, code<<8 | uint32(src[s]), s + 1
	}
	return rng, code, s
}

// lzmaBit decodes a bit by an adaptive probability, without a branch, which the processor
// would guess wrong too often. zero has all bits set for a 0, and none for a 1.
func lzmaBit(rng, code uint32, prob *uint16) (r, c, zero uint32) {
	p := uint32(*prob)
	bound := (rng >> 11) * p
	diff := uint64(code) - uint64(bound)
	zero = uint32(diff >> 32)
	rest := rng - bound
	*prob = uint16(p - uint32(int32(p-zero&(2048-31))>>5))
	return rest ^ (rest^bound)&zero, uint32(diff) + bound&zero, zero
}

// run decodes until dst is full up to end, with marker set to the marker of the end, and
// says whether it came to that; limit is where the input ends. An error of that is
// errTooLong where more data follows.
//
// It is one function, as what it works with has to stay in the processor's registers: a
// Debian image takes 1.5 milliards of these bits. It is then as fast as xz(1).
func (z *lzma) run(end, limit int, marker bool) (marked bool, err error) {
	dst, src, d, s := z.dst[:end], z.src, z.d, z.s
	rng, code, state := z.rng, z.code, z.state
	rep0, rep1, rep2, rep3 := z.rep0, z.rep1, z.rep2, z.rep3
	lc, lpMask, pbMask := z.lc&7, z.lpMask, z.pbMask&(lzmaPosStates-1)
	if state >= 7 && uint32(d) <= rep0 {
		return false, errDamaged // no such byte for a literal after a match
	}
	var zero uint32
	for d < end || marker {
		if s > limit {
			return false, errDamaged
		}
		pos := uint32(d) & pbMask
		rng, code, s = lzmaNormalize(rng, code, src, s)
		prob := &z.isMatch[state][pos]
		p := uint32(*prob)
		bound := (rng >> 11) * p
		if code < bound {
			rng = bound
			*prob = uint16(p + (2048-p)>>5)
			if d >= end {
				return false, errTooLong
			}
			previous := uint32(0)
			if d > 0 {
				previous = uint32(dst[d-1])
			}
			probs := &z.literal[((uint32(d)&lpMask)<<lc+previous>>(8-lc))&(1<<lzmaMaxContext-1)]
			sym := uint32(1)
			if state < 7 {
				for range 8 {
					rng, code, s = lzmaNormalize(rng, code, src, s)
					rng, code, zero = lzmaBit(rng, code, &probs[sym&0xff])
					sym = sym<<1 + 1 + zero
				}
				state = max(state, 3) - 3
			} else { // the byte at the distance of the match helps, as long as it is the same
				match, same := uint32(dst[d-int(rep0)-1]), uint32(0x100)
				for range 8 {
					match <<= 1
					hint := match & same
					rng, code, s = lzmaNormalize(rng, code, src, s)
					rng, code, zero = lzmaBit(rng, code, &probs[same+hint+sym])
					sym = sym<<1 + 1 + zero
					same &= hint ^ zero
				}
				if state -= 3; state >= 7 {
					state -= 3
				}
			}
			dst[d] = byte(sym)
			d++
			continue
		}
		rng -= bound
		code -= bound
		*prob = uint16(p - p>>5)

		// A match: with a distance of its own, or with one of the last ones.
		length, after := &z.matchLen, uint32(7)
		rng, code, s = lzmaNormalize(rng, code, src, s)
		if rng, code, zero = lzmaBit(rng, code, &z.isRep[state]); zero != 0 {
			rep3, rep2, rep1 = rep2, rep1, rep0
		} else {
			length, after = &z.repLen, 8
			rng, code, s = lzmaNormalize(rng, code, src, s)
			if rng, code, zero = lzmaBit(rng, code, &z.isRep0[state]); zero != 0 {
				rng, code, s = lzmaNormalize(rng, code, src, s)
				if rng, code, zero = lzmaBit(rng, code, &z.isRep0Long[state][pos]); zero != 0 {
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
				if rng, code, zero = lzmaBit(rng, code, &z.isRep1[state]); zero != 0 {
					rep0, rep1 = rep1, rep0
				} else {
					rng, code, s = lzmaNormalize(rng, code, src, s)
					if rng, code, zero = lzmaBit(rng, code, &z.isRep2[state]); zero != 0 {
						rep0, rep1, rep2 = rep2, rep0, rep1
					} else {
						rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
					}
				}
			}
		}

		// Its length.
		n, bits, base := uint32(1), uint32(3), uint32(0)
		tree := length.high[:]
		rng, code, s = lzmaNormalize(rng, code, src, s)
		if rng, code, zero = lzmaBit(rng, code, &length.choice); zero != 0 {
			tree = length.low[pos][:]
		} else {
			rng, code, s = lzmaNormalize(rng, code, src, s)
			if rng, code, zero = lzmaBit(rng, code, &length.choice2); zero != 0 {
				tree, base = length.mid[pos][:], 8
			} else {
				bits, base = 8, 16
			}
		}
		for range bits {
			rng, code, s = lzmaNormalize(rng, code, src, s)
			rng, code, zero = lzmaBit(rng, code, &tree[n])
			n = n<<1 + 1 + zero
		}
		n += base + lzmaMatchMin - 1<<bits

		if after == 7 { // Its distance.
			tree, slot := &z.slots[min(n-lzmaMatchMin, lzmaLenStates-1)], uint32(1)
			for range 6 {
				rng, code, s = lzmaNormalize(rng, code, src, s)
				rng, code, zero = lzmaBit(rng, code, &tree[slot&63])
				slot = slot<<1 + 1 + zero
			}
			slot -= 64
			rep0 = slot
			if slot >= 4 {
				low := slot>>1 - 1 // how many bits follow
				rep0 = 2 | slot&1
				probs, base := z.positions[:], uint32(0)
				if slot < lzmaEndPos {
					rep0 <<= low
					base = rep0 - slot
				} else {
					for range low - lzmaAlignBits {
						rng, code, s = lzmaNormalize(rng, code, src, s)
						rng >>= 1
						code -= rng
						zero = -(code >> 31)
						code += rng & zero
						rep0 = rep0<<1 + 1 + zero
					}
					rep0 <<= lzmaAlignBits
					probs, low = z.align[:], lzmaAlignBits
				}
				m := uint32(1)
				for i := range low {
					rng, code, s = lzmaNormalize(rng, code, src, s)
					rng, code, zero = lzmaBit(rng, code, &probs[base+m])
					m = m<<1 + 1 + zero
					rep0 += (1 + zero) << i
				}
			}
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
