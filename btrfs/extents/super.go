package extents

import (
	"encoding/binary"
	"fmt"
)

const (
	superOffset = 64 << 10 // BTRFS_SUPER_INFO_OFFSET
	superSize   = 4096     // BTRFS_SUPER_INFO_SIZE
	superMagic  = "_BHRfS_M"
	// The array of the system chunks in a superblock.
	arrayOffset, arraySize = 811, 2048 // BTRFS_SYSTEM_CHUNK_ARRAY_SIZE
)

// super is what a superblock says of where the trees of its commit are.
type super struct {
	generation            uint64
	root, chunkRoot       pointer
	rootLevel, chunkLevel int
	sum                   uint16 // kind of checksums
	nodesize              int
	chunks                []chunk // the system ones, where the chunk tree is
}

// parseSuper reads struct btrfs_super_block.
func parseSuper(b []byte) (super, error) {
	le := binary.LittleEndian
	if len(b) != superSize || string(b[64:72]) != superMagic {
		return super{}, fmt.Errorf("%w: there is no superblock", errStale)
	}
	s := super{sum: le.Uint16(b[196:])}
	if err := checkSum(s.sum, b); err != nil {
		return super{}, err
	}
	s.generation = le.Uint64(b[72:])
	s.root, s.rootLevel = pointer{le.Uint64(b[80:]), s.generation}, int(b[198])
	s.chunkRoot, s.chunkLevel = pointer{le.Uint64(b[88:]), le.Uint64(b[164:])}, int(b[199])
	nodesize := le.Uint32(b[148:])
	if nodesize < 4096 || nodesize > 65536 || nodesize&(nodesize-1) != 0 || s.rootLevel > maxLevel || s.chunkLevel > maxLevel {
		return super{}, fmt.Errorf("cannot parse a superblock: node size %d, levels %d and %d", nodesize, s.rootLevel, s.chunkLevel)
	}
	s.nodesize = int(nodesize)
	size := le.Uint32(b[160:])
	if size > arraySize {
		return super{}, fmt.Errorf("cannot parse a superblock: system chunks of %d bytes", size)
	}
	var err error
	s.chunks, err = parseChunkArray(b[arrayOffset : arrayOffset+size])
	return s, err
}

// parseChunkArray reads the system chunks in a superblock: a key and a chunk,
// again and again.
func parseChunkArray(b []byte) ([]chunk, error) {
	var out []chunk
	for len(b) > 0 {
		if len(b) < keySize {
			return nil, fmt.Errorf("cannot parse the system chunks: %d bytes are left over", len(b))
		}
		k := parseKey(b)
		c, n, err := parseChunk(k, b[keySize:])
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		b = b[keySize+n:]
	}
	return out, nil
}
