package extents

import (
	"cmp"
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

// cover counts each address once, for all subvolumes that have a range with it.
func cover(s *sets, ranges map[span]setID) tally {
	out := tally{}
	order := make([]span, 0, len(ranges))
	for r := range ranges {
		order = append(order, r)
	}
	slices.SortFunc(order, func(a, b span) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	var open []span // those that began and are not counted to their end
	at := uint64(0) // up to here everything is counted
	count := func(limit uint64) {
		for len(open) > 0 && at < limit {
			end, in := limit, setID(0)
			for _, r := range open {
				end, in = min(end, r.end), s.union(in, ranges[r])
			}
			out[in] += end - at
			at = end
			open = slices.DeleteFunc(open, func(r span) bool { return r.end <= at })
		}
	}
	for _, r := range order {
		count(r.begin)
		at = r.begin
		open = append(open, r)
	}
	count(^uint64(0))
	return out
}
