package squashfs

import (
	"errors"
	"fmt"
)

// Kinds of inodes; the extended form of each is 7 higher (squashfs_fs.h).
const (
	kindDir = 1 + iota
	kindFile
	kindSymlink
	kindBlock
	kindChar
	kindFifo
	kindSocket
	extended = 7
)

const (
	noFragment = 1<<32 - 1
	noXattr    = 1<<32 - 1
	// A data block's length word.
	plainBlock = 1 << 24 // not compressed
	sizeMask   = plainBlock - 1
	// minInode is the length in bytes of the shortest inode, symlinkText the place of
	// the text in that of a symbolic link.
	minInode    = 20
	symlinkText = 24
)

// errCut says that a table ends in the middle of an entry.
var errCut = errors.New("it is cut short")

// inode is a decoded inode; which of the fields after xattr are set depends on
// its kind.
type inode struct {
	kind   uint8
	mode   uint16
	uid    uint16 // index in the table of owners
	gid    uint16
	mtime  uint32
	number uint32
	xattr  uint32 // index in the table of attributes, or noXattr
	at     int    // index in the table of inodes

	dirBlock  uint32 // directory: the place of its list
	dirOffset uint16
	listSize  uint32 // plus 3
	start     uint64 // file: offset of the first block
	size      uint64
	fragment  uint32
	inner     uint32 // offset in the fragment
	blocks    []byte // the length words
	target    []byte // symbolic link
	rdev      uint32 // device
}

// readInode decodes the inode at the beginning of b.
func readInode(b []byte, blockSize uint32) (inode, error) {
	c := &cursor{b: b}
	kind := c.u16()
	n := inode{mode: c.u16(), uid: c.u16(), gid: c.u16(), mtime: c.u32(), number: c.u32(), xattr: noXattr}
	if c.bad {
		return n, errCut
	}
	if kind < kindDir || kind > kindSocket+extended {
		return n, fmt.Errorf("its type %d is unknown", kind)
	}
	ext := kind > extended
	if ext {
		kind -= extended
	}
	n.kind = uint8(kind)
	switch kind {
	case kindDir:
		n.readDir(c, ext)
	case kindFile:
		if err := n.readFile(c, ext, blockSize); err != nil {
			return n, err
		}
	case kindSymlink:
		c.u32() // number of links
		length := c.u32()
		if length == 0 || length > maxTarget {
			return n, fmt.Errorf("its target has %d bytes", length)
		}
		n.target = c.take(int(length))
	case kindBlock, kindChar:
		c.u32()
		n.rdev = c.u32()
	default:
		c.u32()
	}
	if ext && kind != kindDir && kind != kindFile {
		n.xattr = c.u32()
	}
	if c.bad {
		return n, errCut
	}
	return n, nil
}

// readDir reads struct squashfs_dir_inode or squashfs_ldir_inode; the index that
// follows the latter only makes look-ups fast.
func (n *inode) readDir(c *cursor, ext bool) {
	if !ext {
		n.dirBlock = c.u32()
		c.u32() // number of links
		n.listSize = uint32(c.u16())
		n.dirOffset = c.u16()
		return
	}
	c.u32() // number of links
	n.listSize = c.u32()
	n.dirBlock = c.u32()
	c.u32() // parent
	c.u16() // length of the index
	n.dirOffset = c.u16()
	n.xattr = c.u32()
}

// readFile reads struct squashfs_reg_inode or squashfs_lreg_inode and the list of
// blocks.
func (n *inode) readFile(c *cursor, ext bool, blockSize uint32) error {
	if ext {
		n.start, n.size = c.u64(), c.u64()
		c.u64() // bytes in holes
		c.u32() // number of links
		n.fragment, n.inner, n.xattr = c.u32(), c.u32(), c.u32()
	} else {
		n.start = uint64(c.u32())
		n.fragment, n.inner = c.u32(), c.u32()
		n.size = uint64(c.u32())
	}
	if n.size > 1<<62 {
		return fmt.Errorf("its size is %d bytes", n.size)
	}
	count := n.size / uint64(blockSize)
	if n.fragment == noFragment && n.size%uint64(blockSize) != 0 {
		count++
	}
	if count > uint64(len(c.b)/4) {
		return errCut
	}
	n.blocks = c.take(int(count) * 4)
	return nil
}
