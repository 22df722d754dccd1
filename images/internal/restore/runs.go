package restore

import (
	"cmp"
	"slices"
)

// Runs are ranges of a file, in order, apart from each other.
type Runs []run

// run is the range from off up to end.
type run struct{ off, end int64 }

// Add adds a range, which overlaps none that is there, and joins it to its
// neighbours.
func (r *Runs) Add(off, end int64) {
	s := *r
	i, _ := slices.BinarySearchFunc(s, off, func(a run, off int64) int { return cmp.Compare(a.off, off) })
	before, after := i > 0 && s[i-1].end == off, i < len(s) && s[i].off == end
	switch {
	case before && after:
		s[i-1].end = s[i].end
		s = slices.Delete(s, i, i+1)
	case before:
		s[i-1].end = end
	case after:
		s[i].off = off
	default:
		s = slices.Insert(s, i, run{off, end})
	}
	*r = s
}
