package extents

import (
	"encoding/binary"
	"iter"
	"math/bits"
)

// setID stands for a set of subvolumes. 0 is the empty one.
type setID uint32

// sets has every set of subvolumes once: there are few different ones, however
// many extents. Subvolumes are numbered from 0 to n-1. It is for one goroutine.
type sets struct {
	words  int      // of each set
	bits   []uint64 // words for each set, one after the other
	ids    map[string]setID
	unions map[[2]setID]setID
	minus  map[[2]setID]setID
}

func newSets(n int) *sets {
	s := &sets{words: (n + 63) / 64, ids: map[string]setID{}, unions: map[[2]setID]setID{}, minus: map[[2]setID]setID{}}
	s.intern(make([]uint64, s.words))
	return s
}

// of is the set's bits.
func (s *sets) of(id setID) []uint64 {
	return s.bits[int(id)*s.words:][:s.words:s.words]
}

func (s *sets) intern(set []uint64) setID {
	key := make([]byte, 0, 8*len(set))
	for _, w := range set {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	id, ok := s.ids[string(key)]
	if !ok {
		id = setID(len(s.ids))
		s.ids[string(key)] = id
		s.bits = append(s.bits, set...)
	}
	return id
}

// mask is the bits of a set of subvolumes.
func (s *sets) mask(members ...int) []uint64 {
	set := make([]uint64, s.words)
	for _, m := range members {
		set[m/64] |= 1 << (m % 64)
	}
	return set
}

func (s *sets) single(member int) setID { return s.intern(s.mask(member)) }

// union is what is in a or b.
func (s *sets) union(a, b setID) setID {
	switch {
	case a == b || b == 0:
		return a
	case a == 0:
		return b
	}
	key := [2]setID{min(a, b), max(a, b)}
	id, ok := s.unions[key]
	if !ok {
		id = s.combine(a, b, func(x, y uint64) uint64 { return x | y })
		s.unions[key] = id
	}
	return id
}

// unionAll is what is in any of them.
func (s *sets) unionAll(ids iter.Seq[setID]) setID {
	set := make([]uint64, s.words)
	for id := range ids {
		for i, w := range s.of(id) {
			set[i] |= w
		}
	}
	return s.intern(set)
}

// without is what is in a and not in b.
func (s *sets) without(a, b setID) setID {
	if b == 0 {
		return a
	}
	key := [2]setID{a, b}
	id, ok := s.minus[key]
	if !ok {
		id = s.combine(a, b, func(x, y uint64) uint64 { return x &^ y })
		s.minus[key] = id
	}
	return id
}

func (s *sets) combine(a, b setID, op func(x, y uint64) uint64) setID {
	x, y := s.of(a), s.of(b)
	set := make([]uint64, s.words)
	for i := range set {
		set[i] = op(x[i], y[i])
	}
	return s.intern(set)
}

// several says whether the set has two members or more.
func (s *sets) several(id setID) bool {
	n := 0
	for _, w := range s.of(id) {
		n += bits.OnesCount64(w)
	}
	return n > 1
}

// compare counts the set's members that are in mask, and those that are not.
func (s *sets) compare(id setID, mask []uint64) (in, out int) {
	for i, w := range s.of(id) {
		in += bits.OnesCount64(w & mask[i])
		out += bits.OnesCount64(w &^ mask[i])
	}
	return in, out
}
