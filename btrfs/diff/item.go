package diff

import (
	"encoding/binary"
	"fmt"
)

// Types of items (include/uapi/linux/btrfs_tree.h).
const (
	inodeItemKey   = 1
	inodeRefKey    = 12
	inodeExtrefKey = 13
	xattrItemKey   = 24
	dirIndexKey    = 96
	extentDataKey  = 108
	rootItemKey    = 132

	firstFree = 256          // BTRFS_FIRST_FREE_OBJECTID: the root directory's inode
	lastFree  = ^uint64(255) // BTRFS_LAST_FREE_OBJECTID, -256
)

// inodeItem is what is compared of struct btrfs_inode_item.
type inodeItem struct {
	generation     uint64 // the transaction that made it
	size           uint64
	uid, gid, mode uint32
	rdev           uint64
	flags          uint64
	sequence       uint64 // changes with the content
	ctime, mtime   stamp
}

type stamp struct {
	sec  uint64
	nsec uint32
}

func parseInode(data []byte) (inodeItem, error) {
	const size = 160
	if len(data) < size {
		return inodeItem{}, fmt.Errorf("cannot parse an inode of %d bytes", len(data))
	}
	le := binary.LittleEndian
	at := func(o int) stamp { return stamp{le.Uint64(data[o:]), le.Uint32(data[o+8:])} }
	return inodeItem{
		generation: le.Uint64(data), size: le.Uint64(data[16:]),
		uid: le.Uint32(data[44:]), gid: le.Uint32(data[48:]), mode: le.Uint32(data[52:]),
		rdev: le.Uint64(data[56:]), flags: le.Uint64(data[64:]), sequence: le.Uint64(data[72:]),
		ctime: at(124), mtime: at(136),
	}, nil
}

// link is a name of an inode in a directory.
type link struct {
	dir  uint64
	name string
}

// parseRefs reads the names in an INODE_REF, whose directory is in its key, or an
// INODE_EXTREF.
func parseRefs(kind uint8, offset uint64, data []byte, fn func(link)) error {
	fixed := 10
	if kind == inodeExtrefKey {
		fixed = 18
	}
	for len(data) > 0 {
		if len(data) < fixed {
			return fmt.Errorf("cannot parse names of an inode: %d bytes are left", len(data))
		}
		dir := offset
		if kind == inodeExtrefKey {
			dir = binary.LittleEndian.Uint64(data)
		}
		end := fixed + int(binary.LittleEndian.Uint16(data[fixed-2:]))
		if end > len(data) {
			return fmt.Errorf("cannot parse a name of an inode: %d bytes of %d", len(data)-fixed, end-fixed)
		}
		fn(link{dir, string(data[fixed:end])})
		data = data[end:]
	}
	return nil
}

// dirItem is struct btrfs_dir_item: an entry of a directory, or an attribute.
type dirItem struct {
	id    uint64 // of the inode, or subvolume
	kind  uint8  // of the key that it is at
	name  string
	value string // of an attribute
}

func parseDirItems(data []byte, fn func(dirItem)) error {
	const fixed = 30
	for len(data) > 0 {
		if len(data) < fixed {
			return fmt.Errorf("cannot parse an entry: %d bytes are left", len(data))
		}
		value := fixed + int(binary.LittleEndian.Uint16(data[27:]))
		end := value + int(binary.LittleEndian.Uint16(data[25:]))
		if end > len(data) {
			return fmt.Errorf("cannot parse an entry: %d bytes of %d", len(data), end)
		}
		fn(dirItem{binary.LittleEndian.Uint64(data), data[8], string(data[fixed:value]), string(data[value:end])})
		data = data[end:]
	}
	return nil
}

// extent is a piece of a file's content.
type extent struct {
	start, end uint64 // in the file
	// base is the address on the disk that the file's first byte would have; of
	// compressed data, of what it unpacks to. It is the same for all pieces of one
	// extent.
	base        uint64
	compression uint8
	inline      string // the data itself, when it is in the item
}

// Values of struct btrfs_file_extent_item.
const (
	extentInline       = 0
	extentPreallocated = 2
)

// parseExtent reads an EXTENT_DATA; false for a hole and for what is allocated and
// not written, which is read as one.
func parseExtent(start uint64, data []byte) (extent, bool, error) {
	const fixed, full = 21, 53
	if len(data) < fixed || data[20] != extentInline && len(data) < full {
		return extent{}, false, fmt.Errorf("cannot parse a file extent of %d bytes", len(data))
	}
	le := binary.LittleEndian
	e := extent{start: start, compression: data[16]}
	if data[20] == extentInline {
		e.end, e.inline = start+le.Uint64(data[8:]), string(data[fixed:])
		return e, true, nil
	}
	disk := le.Uint64(data[fixed:])
	e.end = start + le.Uint64(data[45:])
	e.base = disk + le.Uint64(data[37:]) - start
	return e, disk != 0 && data[20] != extentPreallocated, nil
}
