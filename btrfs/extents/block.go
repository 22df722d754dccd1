package extents

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes of the structures in a tree block (btrfs_tree.h).
const (
	headerSize   = 101 // struct btrfs_header
	keySize      = 17  // struct btrfs_disk_key
	itemSize     = 25  // struct btrfs_item
	childSize    = 33  // struct btrfs_key_ptr
	maxLevel     = 7   // BTRFS_MAX_LEVEL - 1
	checksumSize = 32  // BTRFS_CSUM_SIZE
)

// Checksum types (enum btrfs_csum_type).
const (
	sumCRC32C = 0
	sumXXHash = 1
	sumSHA256 = 2
)

// errStale says that what was read is not what the pointer to it means: it was
// overwritten since, or it is damaged.
var errStale = errors.New("it is not what the pointer to it means")

// pointer is what a node says of a tree block below it.
type pointer struct {
	bytenr     uint64 // logical address
	generation uint64 // the transaction that wrote it
}

// key is struct btrfs_disk_key.
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

func parseKey(b []byte) key {
	return key{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkSum verifies the checksum that a tree block or superblock begins with.
// What blake2b would say is not known here; the rest of the header must do then.
func checkSum(kind uint16, block []byte) error {
	ok := true
	switch data := block[checksumSize:]; kind {
	case sumCRC32C:
		ok = binary.LittleEndian.Uint32(block) == crc32.Checksum(data, castagnoli)
	case sumXXHash:
		ok = binary.LittleEndian.Uint64(block) == xxhash64(data)
	case sumSHA256:
		sum := sha256.Sum256(data)
		ok = bytes.Equal(block[:checksumSize], sum[:])
	}
	if !ok {
		return fmt.Errorf("%w: its checksum is wrong", errStale)
	}
	return nil
}

// checkBlock says whether a tree block is the one that is pointed to.
func checkBlock(block []byte, sum uint16, want pointer, level int) error {
	if len(block) < headerSize {
		return fmt.Errorf("a tree block of %d bytes", len(block))
	}
	if err := checkSum(sum, block); err != nil {
		return err
	}
	le := binary.LittleEndian
	if at, gen, l := le.Uint64(block[48:]), le.Uint64(block[80:]), int(block[100]); at != want.bytenr || gen != want.generation || l != level {
		return fmt.Errorf("%w: it says address %d, generation %d, level %d; wanted are %d, %d, %d", errStale, at, gen, l, want.bytenr, want.generation, level)
	}
	return nil
}

// children are the pointers of a node, a tree block above level 0, and the first
// object below each.
func children(block []byte) ([]pointer, []uint64, error) {
	n := int(binary.LittleEndian.Uint32(block[96:]))
	if n < 1 || n > (len(block)-headerSize)/childSize {
		return nil, nil, fmt.Errorf("cannot parse a node: %d pointers in %d bytes", n, len(block))
	}
	out, firsts := make([]pointer, n), make([]uint64, n)
	for i := range out {
		b := block[headerSize+i*childSize:]
		firsts[i] = binary.LittleEndian.Uint64(b)
		out[i] = pointer{binary.LittleEndian.Uint64(b[keySize:]), binary.LittleEndian.Uint64(b[keySize+8:])}
	}
	return out, firsts, nil
}

// items calls fn with each item of a leaf, in their order. The data is valid
// while the block is.
func items(block []byte, fn func(k key, data []byte) error) error {
	n := uint64(binary.LittleEndian.Uint32(block[96:]))
	if n > uint64(len(block)-headerSize)/itemSize {
		return fmt.Errorf("cannot parse a leaf: %d items in %d bytes", n, len(block))
	}
	for i := range n {
		b := block[headerSize+i*itemSize:]
		begin := headerSize + uint64(binary.LittleEndian.Uint32(b[keySize:]))
		end := begin + uint64(binary.LittleEndian.Uint32(b[keySize+4:]))
		if begin < headerSize+n*itemSize || end > uint64(len(block)) {
			return fmt.Errorf("cannot parse a leaf: item %d of %d is at bytes %d to %d", i, n, begin, end)
		}
		if err := fn(parseKey(b), block[begin:end:end]); err != nil {
			return err
		}
	}
	return nil
}
