package btrfs

import (
	"math"
	"os"
)

// Keys of the tree of extents (include/uapi/linux/btrfs_tree.h).
const (
	extentItemKey   = 168
	metadataItemKey = 169
)

// longestNode is the longest that a node of a tree can be.
const longestNode = 64 << 10

// readExtents finds out of each block group with data how long the longest extent
// in it is, and the longest free piece between them. The kernel moves an extent,
// of up to 128 MiB, into one such piece only.
func (l layout) readExtents(f *os.File) error {
	s := newSearcher(f)
	for i := range l.groups {
		g := &l.groups[i]
		if g.flags&groupData == 0 {
			continue
		}
		at := g.logical
		err := s.extentItems(g.logical, g.logical+g.length, func(start, length uint64) {
			g.longest = max(g.longest, length)
			g.hole = max(g.hole, subtract(start, at))
			at = max(at, start+length)
		})
		if err != nil {
			return err
		}
		g.hole = max(g.hole, subtract(g.logical+g.length, at))
	}
	return nil
}

// extentItems calls fn with each extent in a range of addresses, by ascending start.
func (s *searcher) extentItems(from, end uint64, fn func(start, length uint64)) error {
	for next := (itemHeader{ObjectID: from, Type: extentItemKey}); ; {
		s.args.Key = searchKey{
			TreeID: extentTreeID, MinObjectID: next.ObjectID, MinType: next.Type, MinOffset: next.Offset,
			MaxObjectID: end - 1, MaxType: metadataItemKey, MaxOffset: math.MaxUint64,
			MaxTransID: math.MaxUint64, NrItems: math.MaxUint32,
		}
		s.args.BufSize = uint64(len(s.args.Buf))
		if err := ioctl(int(s.f.Fd()), iocTreeSearchV2, s.args); err != nil {
			return os.NewSyscallError("BTRFS_IOC_TREE_SEARCH_V2", err)
		}
		if s.args.Key.NrItems == 0 {
			return nil
		}
		err := parseItems(s.args.Buf[:], s.args.Key.NrItems, func(h itemHeader, _ []byte) error {
			switch h.Type {
			case extentItemKey:
				fn(h.ObjectID, h.Offset)
			case metadataItemKey:
				fn(h.ObjectID, longestNode)
			}
			next = h
			return nil
		})
		if err != nil {
			return err
		}
		if next.Offset++; next.Offset == 0 {
			if next.Type++; next.Type > metadataItemKey {
				next.ObjectID, next.Type = next.ObjectID+1, extentItemKey
			}
		}
		if next.ObjectID >= end {
			return nil
		}
	}
}
