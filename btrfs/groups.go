package btrfs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Of the trees of chunks, extents and block groups
// (include/uapi/linux/btrfs_tree.h).
const (
	extentTreeID     = 2
	chunkTreeID      = 3
	groupTreeID      = 11 // BTRFS_BLOCK_GROUP_TREE_OBJECTID
	firstChunkObject = 256
	chunkItemKey     = 228
	groupItemKey     = 192
)

// blockGroup is a piece of the space that btrfs gives addresses in ("logical"),
// and where on the device it lies.
type blockGroup struct {
	logical, length uint64
	used            uint64
	flags           uint64 // groupData, groupMetadata, groupSystem and the profile
	extents         []DevExtent
	// longest is the longest extent in it, hole its longest free piece, where it is
	// one of data and readExtents has been called.
	longest, hole uint64
}

// metadata says whether metadata is in it, alone or with data.
func (g blockGroup) metadata() bool { return g.flags&groupMetadata != 0 }

// system says whether the tree of chunks is in it.
func (g blockGroup) system() bool { return g.flags&groupSystem != 0 }

// end is the end of what it has of the device.
func (g blockGroup) end() uint64 {
	var end uint64
	for _, e := range g.extents {
		end = max(end, e.Start+e.Length)
	}
	return end
}

// copies is how many bytes of the device each of its bytes takes.
func (g blockGroup) copies() uint64 { return max(1, uint64(len(g.extents))) }

// readGroups lists the block groups of a file system on one device, by logical
// address, as of the last commit.
func readGroups(f *os.File) ([]blockGroup, error) {
	s := newSearcher(f)
	var groups []blockGroup
	err := s.items(chunkTreeID, firstChunkObject, chunkItemKey, func(logical uint64, data []byte) error {
		g, err := parseChunk(data)
		g.logical = logical
		groups = append(groups, g)
		return err
	})
	if err != nil {
		return nil, err
	}
	tree := uint64(groupTreeID)
	for i := range groups {
		used, err := s.groupUsed(tree, groups[i].logical)
		if errors.Is(err, unix.ENOENT) && tree == groupTreeID { // no such tree: the older place
			tree = extentTreeID
			used, err = s.groupUsed(tree, groups[i].logical)
		}
		if err != nil {
			return nil, err
		}
		groups[i].used = used
	}
	slices.SortFunc(groups, func(a, b blockGroup) int { return cmp.Compare(a.logical, b.logical) })
	return groups, nil
}

// groupUsed reads how much of a block group is used. One without an item has
// been made since the last commit.
func (s *searcher) groupUsed(tree, logical uint64) (uint64, error) {
	item, err := s.first(tree, logical, groupItemKey)
	if err != nil || item == nil {
		return 0, err
	}
	if len(item) < 24 { // struct btrfs_block_group_item
		return 0, fmt.Errorf("cannot parse a block group item of %d bytes", len(item))
	}
	return binary.LittleEndian.Uint64(item), nil
}

// parseChunk reads struct btrfs_chunk. Each stripe of the profiles for one
// device is as long as the chunk.
func parseChunk(data []byte) (blockGroup, error) {
	const fixed, stripe = 48, 32
	if len(data) < fixed {
		return blockGroup{}, fmt.Errorf("cannot parse a chunk of %d bytes", len(data))
	}
	le := binary.LittleEndian
	g := blockGroup{length: le.Uint64(data), flags: le.Uint64(data[24:])}
	stripes := int(le.Uint16(data[44:]))
	if len(data) != fixed+stripes*stripe {
		return blockGroup{}, fmt.Errorf("cannot parse a chunk with %d stripes in %d bytes", stripes, len(data))
	}
	for i := range stripes {
		g.extents = append(g.extents, DevExtent{Start: le.Uint64(data[fixed+i*stripe+8:]), Length: g.length})
	}
	return g, nil
}
