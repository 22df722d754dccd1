package extents

import (
	"encoding/binary"
	"fmt"
)

// Of the trees (btrfs_tree.h).
const (
	extentTreeID = 2 // BTRFS_EXTENT_TREE_OBJECTID
	topLevel     = 5 // BTRFS_FS_TREE_OBJECTID
	// Subvolumes have the ids from firstFree to lastFree.
	firstFree = 256              // BTRFS_FIRST_FREE_OBJECTID
	lastFree  = ^uint64(256) + 1 // BTRFS_LAST_FREE_OBJECTID, -256

	orphanObject = ^uint64(5) + 1 // BTRFS_ORPHAN_OBJECTID, -5

	orphanItemKind = 48
	extentDataKind = 108
	rootItemKind   = 132
	extentItemKind = 168
	metadataKind   = 169
)

// root is the tree of one subvolume.
type root struct {
	id    uint64
	top   pointer
	level int
	// deleted says that the subvolume is deleted, and being freed.
	deleted bool
}

// isSubvolume says whether the root item of that key is one of a subvolume.
func isSubvolume(k key) bool {
	return k.kind == rootItemKind && (k.object == topLevel || k.object >= firstFree && k.object <= lastFree)
}

// parseRoot reads struct btrfs_root_item.
func parseRoot(k key, b []byte) (root, error) {
	const oldSize = 239 // without what Linux 3.6 added
	if len(b) < oldSize {
		return root{}, fmt.Errorf("cannot parse a root item of %d bytes", len(b))
	}
	le := binary.LittleEndian
	r := root{id: k.object, top: pointer{le.Uint64(b[176:]), le.Uint64(b[160:])}, level: int(b[238]), deleted: le.Uint32(b[216:]) == 0}
	if r.level > maxLevel {
		return root{}, fmt.Errorf("cannot parse a root item: level %d", r.level)
	}
	return r, nil
}

// fileExtent is a range of a file that is on disk.
type fileExtent struct {
	inode  uint64
	origin uint64 // where in the file the extent would begin: the same for all parts of what was written at once
	// extent is the logical address of the whole extent, and size its bytes on disk.
	extent, size uint64
	// physical and length are the range as FIEMAP has it: length is uncompressed.
	physical, length uint64
}

// parseFileExtent reads struct btrfs_file_extent_item; ok is false for what has
// no extent: inline data and holes.
func parseFileExtent(k key, b []byte) (f fileExtent, ok bool, err error) {
	const inlineHead, size = 21, 53
	const inline = 0 // BTRFS_FILE_EXTENT_INLINE
	if len(b) < inlineHead || b[20] != inline && len(b) < size {
		return f, false, fmt.Errorf("cannot parse a file extent of %d bytes", len(b))
	}
	le := binary.LittleEndian
	if b[20] == inline || le.Uint64(b[21:]) == 0 {
		return f, false, nil
	}
	offset := le.Uint64(b[37:])
	f = fileExtent{
		inode: k.object, origin: k.offset - offset, extent: le.Uint64(b[21:]), size: le.Uint64(b[29:]), length: le.Uint64(b[45:]),
	}
	f.physical = f.extent
	if b[16] == 0 { // not compressed
		f.physical += offset
	}
	const limit = 1 << 60
	if f.size == 0 || f.size > limit || f.length == 0 || f.length > limit || f.extent > limit || offset > limit {
		return f, false, fmt.Errorf("cannot parse a file extent: %d bytes of %d at %d, offset %d", f.length, f.size, f.extent, offset)
	}
	return f, true, nil
}
