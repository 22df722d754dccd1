package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// SuperSize is the length in bytes of a superblock.
const SuperSize = 96

// Super is a squashfs 4.0 superblock (struct squashfs_super_block in the kernel's
// fs/squashfs/squashfs_fs.h).
type Super struct {
	Inodes         uint32
	ModTime        uint32 // seconds since 1970
	BlockSize      uint32
	Fragments      uint32
	Compression    Compression
	Flags          uint16
	IDs            uint16
	RootInode      uint64
	BytesUsed      uint64 // length of the file system; the file may be padded
	IDTable        uint64 // offsets; ^0 = there is none
	XattrTable     uint64
	InodeTable     uint64
	DirectoryTable uint64
	FragmentTable  uint64
	ExportTable    uint64
}

// Compression is the method that a file system's blocks are compressed by.
type Compression uint16

// The compressions of squashfs 4.0.
const (
	Gzip Compression = 1 + iota // zlib streams, in truth
	LZMA                        // LZMA_alone, of squashfs-tools before there was xz
	LZO
	XZ
	LZ4
	Zstd
)

func (c Compression) String() string {
	names := [...]string{1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return fmt.Sprintf("unknown compression %d", uint16(c))
}

// ErrNotSquashfs says that the magic number is missing.
var ErrNotSquashfs = errors.New("it is not a squashfs file system")

const absent = ^uint64(0)

// hasOptions is the flag that says that the compressor's options follow the
// superblock.
const hasOptions = 1 << 10

// ParseSuper reads and checks the superblock at the beginning of b. It makes the
// checks of the kernel's squashfs_fill_super, so that what is refused here could
// not be mounted either, and names the kind of file system that is refused.
func ParseSuper(b []byte) (Super, error) {
	if len(b) < 4 {
		return Super{}, ErrNotSquashfs
	}
	switch string(b[:4]) {
	case "hsqs":
	case "sqsh":
		return Super{}, errors.New("it is a big-endian squashfs, which is not supported")
	case "shsq", "qshs", "sqlz", "qlzs":
		return Super{}, errors.New("it is a squashfs of a vendor's own lzma format, which is not supported")
	default:
		return Super{}, ErrNotSquashfs
	}
	if len(b) < SuperSize {
		return Super{}, errors.New("the squashfs superblock is cut short")
	}
	le := binary.LittleEndian
	if major, minor := le.Uint16(b[28:]), le.Uint16(b[30:]); major != 4 || minor != 0 {
		return Super{}, fmt.Errorf("it is a squashfs of version %d.%d; only 4.0 is supported", major, minor)
	}
	s := Super{
		Inodes: le.Uint32(b[4:]), ModTime: le.Uint32(b[8:]), BlockSize: le.Uint32(b[12:]),
		Fragments: le.Uint32(b[16:]), Compression: Compression(le.Uint16(b[20:])),
		Flags: le.Uint16(b[24:]), IDs: le.Uint16(b[26:]), RootInode: le.Uint64(b[32:]),
		BytesUsed: le.Uint64(b[40:]), IDTable: le.Uint64(b[48:]), XattrTable: le.Uint64(b[56:]),
		InodeTable: le.Uint64(b[64:]), DirectoryTable: le.Uint64(b[72:]),
		FragmentTable: le.Uint64(b[80:]), ExportTable: le.Uint64(b[88:]),
	}
	if err := s.check(le.Uint16(b[22:])); err != nil {
		return Super{}, fmt.Errorf("the squashfs superblock is damaged: %w", err)
	}
	return s, nil
}

func (s *Super) check(blockLog uint16) error {
	switch {
	case s.Compression < 1 || s.Compression > 6:
		return errors.New(s.Compression.String())
	case s.BlockSize < 4096 || s.BlockSize > 1<<20 || bits.OnesCount32(s.BlockSize) != 1:
		return fmt.Errorf("its block size is %d bytes", s.BlockSize)
	case int(blockLog) != bits.TrailingZeros32(s.BlockSize):
		return fmt.Errorf("its block size %d does not agree with its logarithm %d", s.BlockSize, blockLog)
	case s.Inodes == 0 || s.IDs == 0:
		return errors.New("it has no inodes or no owners")
	case s.BytesUsed < SuperSize || s.BytesUsed > 1<<62:
		return fmt.Errorf("its length is %d bytes", s.BytesUsed)
	case s.RootInode&0xffff > 8192:
		return errors.New("the root inode lies outside of its block")
	}
	return s.checkTables()
}

// checkTables: the tables lie after the superblock, within the file system, in
// the order that mksquashfs writes and the kernel demands.
func (s *Super) checkTables() error {
	end := s.BytesUsed
	if s.IDTable == absent || s.IDTable >= end {
		return fmt.Errorf("its table of owners is at %d, past the end at %d", s.IDTable, end)
	}
	fragments := s.FragmentTable
	if s.Fragments == 0 {
		fragments = absent // not looked at then
	}
	for _, t := range []struct {
		name  string
		start uint64
	}{{"extended attributes", s.XattrTable}, {"exports", s.ExportTable}, {"fragments", fragments}} {
		if t.start != absent && (t.start >= end || t.start < s.DirectoryTable) {
			return fmt.Errorf("its table of %s is at %d, outside of the file system", t.name, t.start)
		}
	}
	if s.InodeTable < SuperSize || s.InodeTable >= s.DirectoryTable || s.DirectoryTable >= s.IDTable {
		return fmt.Errorf("its tables are out of order (inodes %d, directories %d, owners %d)",
			s.InodeTable, s.DirectoryTable, s.IDTable)
	}
	if s.RootInode>>16 >= s.DirectoryTable-s.InodeTable {
		return errors.New("the root inode lies outside of the inode table")
	}
	return nil
}
