package extents

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Profiles of block groups: flags of a chunk's type (btrfs_tree.h).
const (
	raid0, raid10, raid5, raid6 = 1 << 3, 1 << 6, 1 << 7, 1 << 8

	chunkItemKind = 228
	chunkSize     = 48 // struct btrfs_chunk without its stripes
	stripeSize    = 32 // struct btrfs_stripe
)

// chunk says where a range of logical addresses is on the devices.
type chunk struct {
	start, length uint64 // logical
	stripeLength  uint64
	flags         uint64
	subStripes    uint64 // of raid10: how many copies
	stripes       []place
}

// place is an address on a device.
type place struct {
	device, offset uint64
}

// parseChunk reads struct btrfs_chunk and returns how long it is.
func parseChunk(k key, b []byte) (chunk, int, error) {
	if k.kind != chunkItemKind || len(b) < chunkSize {
		return chunk{}, 0, fmt.Errorf("cannot parse a chunk: kind %d, %d bytes", k.kind, len(b))
	}
	le := binary.LittleEndian
	c := chunk{start: k.offset, length: le.Uint64(b), stripeLength: le.Uint64(b[16:]), flags: le.Uint64(b[24:]), subStripes: uint64(le.Uint16(b[46:]))}
	n := int(le.Uint16(b[44:]))
	size := chunkSize + n*stripeSize
	if n == 0 || len(b) < size {
		return chunk{}, 0, fmt.Errorf("cannot parse a chunk: %d stripes in %d bytes", n, len(b))
	}
	for i := range n {
		s := b[chunkSize+i*stripeSize:]
		c.stripes = append(c.stripes, place{le.Uint64(s), le.Uint64(s[8:])})
	}
	return c, size, c.check()
}

// check refuses what locate could not divide by, and addresses that wrap.
func (c *chunk) check() error {
	n := uint64(len(c.stripes))
	ok := c.length > 0 && c.start+c.length > c.start && c.length < 1<<60 && c.stripeLength >= 4096
	for _, s := range c.stripes {
		ok = ok && s.offset < 1<<60
	}
	switch {
	case c.flags&raid10 != 0:
		ok = ok && c.subStripes > 0 && n%c.subStripes == 0
	case c.flags&raid5 != 0:
		ok = ok && n > 1
	case c.flags&raid6 != 0:
		ok = ok && n > 2
	}
	if !ok {
		return fmt.Errorf("cannot parse a chunk: %d bytes at %d in %d stripes of %d, flags %#x", c.length, c.start, n, c.stripeLength, c.flags)
	}
	return nil
}

// locate returns where the byte at the logical address is, every copy of it, and
// how many from there on lie in one piece. Of raid5 and raid6 it has only the
// data, not what could be computed from the parity.
func (c *chunk) locate(logical uint64) ([]place, uint64) {
	at := logical - c.start
	n := uint64(len(c.stripes))
	nr, in := at/c.stripeLength, at%c.stripeLength
	left := min(c.stripeLength-in, c.length-at)
	one := func(index, row uint64) place {
		return place{c.stripes[index].device, c.stripes[index].offset + row*c.stripeLength + in}
	}
	switch {
	case c.flags&raid0 != 0:
		return []place{one(nr%n, nr/n)}, left
	case c.flags&raid10 != 0:
		groups := n / c.subStripes
		var out []place
		for i := range c.subStripes {
			out = append(out, one(nr%groups*c.subStripes+i, nr/groups))
		}
		return out, left
	case c.flags&(raid5|raid6) != 0:
		data := n - 1
		if c.flags&raid6 != 0 {
			data = n - 2
		}
		row := nr / data
		return []place{one((row+nr%data)%n, row)}, left
	}
	out := make([]place, 0, n) // single, dup, raid1*: a copy in each stripe
	for _, s := range c.stripes {
		out = append(out, place{s.device, s.offset + at})
	}
	return out, c.length - at
}

// chunks are sorted by address.
type chunks []chunk

func (cs chunks) sort() {
	slices.SortFunc(cs, func(a, b chunk) int { return cmp.Compare(a.start, b.start) })
}

// find returns the chunk that the address is in.
func (cs chunks) find(logical uint64) (*chunk, error) {
	i, found := slices.BinarySearchFunc(cs, logical, func(c chunk, at uint64) int { return cmp.Compare(c.start, at) })
	if !found {
		i--
	}
	if i < 0 || logical-cs[i].start >= cs[i].length {
		return nil, fmt.Errorf("%w: no chunk has address %d", errStale, logical)
	}
	return &cs[i], nil
}
