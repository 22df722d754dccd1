package extents

import (
	"cmp"
	"maps"
	"slices"
)

// extent is one extent of data with all that refers to it.
type extent struct {
	size uint64
	in   setID // the subvolumes
	// The file and the place in it that refer to the extent; several says that
	// there are others.
	inode, origin uint64
	several       bool
	leaf          int  // one that refers to it
	leaves        bool // others do, too
}

// gather finds the extents of all leaves.
func gather(s *sets, leaves []leaf) map[uint64]*extent {
	out := map[uint64]*extent{}
	for i, l := range leaves {
		for _, f := range l.files {
			e := out[f.extent]
			if e == nil {
				e = &extent{size: f.size, inode: f.inode, origin: f.origin, leaf: i}
				out[f.extent] = e
			}
			e.in = s.union(e.in, l.in)
			e.several = e.several || e.inode != f.inode || e.origin != f.origin
			e.leaves = e.leaves || e.leaf != i
		}
	}
	return out
}

// tally counts bytes by the subvolumes that have them.
type tally map[setID]uint64

// files counts what "btrfs filesystem du" does.
type files struct {
	total     tally // of the ranges of files; for each subvolume that has them
	exclusive tally // of those that the kernel does not call shared
	shared    tally // of the extents' ranges that it does, those of several files once
}

// countFiles counts the ranges of all files that have a name.
func countFiles(s *sets, leaves []leaf, all map[uint64]*extent) files {
	out := files{total: tally{}, exclusive: tally{}}
	nameless := map[uint64]setID{}
	for _, l := range leaves {
		for _, inode := range l.orphans {
			nameless[inode] = s.union(nameless[inode], l.in)
		}
	}
	ranges := map[span]setID{}
	for _, l := range leaves {
		for _, f := range l.files {
			in := s.without(l.in, nameless[f.inode])
			if in == 0 {
				continue
			}
			out.total[in] += f.length
			if e := all[f.extent]; e.several || s.several(e.in) {
				at := span{f.physical, f.physical + f.length}
				ranges[at] = s.union(ranges[at], in)
			} else {
				out.exclusive[in] += f.length
			}
		}
	}
	out.shared = cover(s, ranges)
	return out
}

// span is a range of addresses.
type span struct{ begin, end uint64 }

// edge is where a range begins or ends.
type edge struct {
	at    uint64
	in    setID
	begin bool
}

// cover counts each address once, for all subvolumes that have a range with it.
func cover(s *sets, ranges map[span]setID) tally {
	edges := make([]edge, 0, 2*len(ranges))
	for r, in := range ranges {
		edges = append(edges, edge{r.begin, in, true}, edge{r.end, in, false})
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.in, b.in)) })
	out := tally{}
	open := map[setID]int{} // how many ranges of each set cover what is before the edge
	all, at := setID(0), uint64(0)
	for i := 0; i < len(edges); {
		here, changed := edges[i].at, false
		if all != 0 {
			out[all] += here - at
		}
		for ; i < len(edges) && edges[i].at == here; i++ {
			e := edges[i]
			before := open[e.in]
			if e.begin {
				open[e.in]++
			} else if open[e.in]--; before == 1 {
				delete(open, e.in)
			}
			changed = changed || before == 0 || open[e.in] == 0
		}
		if at = here; changed {
			all = s.unionAll(maps.Keys(open))
		}
	}
	return out
}
