package squashfs

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// metadataBlock is the length in bytes of a decompressed block of metadata; only
// the last one of a table may be shorter (SQUASHFS_METADATA_SIZE).
const metadataBlock = 8192

// plainMetadata is the bit of a metadata block's header that says that it is not
// compressed.
const plainMetadata = 1 << 15

// tail is the end of the file from the inode table on, where all tables lie.
type tail struct {
	base uint64 // offset of b in the file
	b    []byte
	c    Compression
	size int // of a data block
}

// span is the place of one metadata block's data in the tail.
type span struct {
	at, n int
	plain bool
}

// block reads the header of the metadata block at a file offset; next is the
// offset behind it.
func (t *tail) block(off uint64) (s span, next uint64, err error) {
	end := t.base + uint64(len(t.b))
	if off < t.base || off > end-2 {
		return s, 0, fmt.Errorf("a block of metadata at %d lies outside of the tables", off)
	}
	at := int(off - t.base)
	head := binary.LittleEndian.Uint16(t.b[at:])
	s = span{at: at + 2, n: int(head &^ plainMetadata), plain: head&plainMetadata != 0}
	if s.n == 0 || s.n > metadataBlock || s.n > len(t.b)-s.at {
		return s, 0, fmt.Errorf("the block of metadata at %d has a length of %d bytes", off, s.n)
	}
	return s, off + 2 + uint64(s.n), nil
}

// table is a decompressed sequence of metadata blocks.
type table struct {
	name   string
	b      []byte
	blocks []uint32 // where each block begins, from the table's start; ascending
}

// table reads all blocks from start to end, offsets in the file.
func (t *tail) table(name string, start, end uint64, limit int) (*table, error) {
	out := &table{name: name}
	var spans []span
	for off := start; off < end; {
		s, next, err := t.block(off)
		if err != nil {
			return nil, fmt.Errorf("the table of %s: %w", name, err)
		}
		if next > end {
			return nil, fmt.Errorf("the table of %s does not end where the next one begins", name)
		}
		if (len(spans)+1)*metadataBlock > limit {
			return nil, &LimitError{What: "bytes in the table of " + name, Limit: int64(limit)}
		}
		spans = append(spans, s)
		out.blocks = append(out.blocks, uint32(off-start))
		off = next
	}
	var err error
	if out.b, err = t.decode(spans); err != nil {
		return nil, fmt.Errorf("the table of %s: %w", name, err)
	}
	return out, nil
}

// decode decompresses blocks that belong together, in parallel.
func (t *tail) decode(spans []span) ([]byte, error) {
	if len(spans) == 0 {
		return nil, nil
	}
	out := make([]byte, len(spans)*metadataBlock)
	workers := min(runtime.GOMAXPROCS(0), (len(spans)+7)/8)
	lengths := make([]int, len(spans))
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			d, err := newDecoder(t.c, t.size, false)
			if err != nil {
				errs[w] = err
				return
			}
			defer d.close()
			for i := w; i < len(spans) && errs[w] == nil; i += workers {
				lengths[i], errs[w] = t.decodeOne(d, out[i*metadataBlock:(i+1)*metadataBlock], spans[i])
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	for i, n := range lengths[:len(lengths)-1] {
		if n != metadataBlock {
			return nil, fmt.Errorf("block %d of metadata has %d bytes instead of %d", i, n, metadataBlock)
		}
	}
	return out[:(len(spans)-1)*metadataBlock+lengths[len(spans)-1]], nil
}

func (t *tail) decodeOne(d decoder, dst []byte, s span) (int, error) {
	src := t.b[s.at : s.at+s.n]
	if s.plain {
		return copy(dst, src), nil
	}
	n, err := d.decode(dst, src)
	if err != nil {
		return 0, fmt.Errorf("cannot decompress %s: %w", t.c, err)
	}
	return n, nil
}

// indexed reads a table of size bytes whose blocks are found by a list of
// offsets at the given place (the tables of fragments, owners and attributes).
// first is where its first block lies.
func (t *tail) indexed(name string, at uint64, size int) (b []byte, first uint64, err error) {
	n := (size + metadataBlock - 1) / metadataBlock
	if at < t.base || at-t.base > uint64(len(t.b)) || uint64(n)*8 > uint64(len(t.b))-(at-t.base) {
		return nil, 0, fmt.Errorf("the table of %s at %d is cut short", name, at)
	}
	index := t.b[at-t.base:]
	spans := make([]span, n)
	first = at
	for i := range spans {
		off := binary.LittleEndian.Uint64(index[8*i:])
		if spans[i], _, err = t.block(off); err != nil {
			return nil, 0, fmt.Errorf("the table of %s: %w", name, err)
		}
		if off >= at {
			return nil, 0, fmt.Errorf("the table of %s begins behind its index", name)
		}
		first = min(first, off)
	}
	if b, err = t.decode(spans); err != nil {
		return nil, 0, fmt.Errorf("the table of %s: %w", name, err)
	}
	if len(b) != size {
		return nil, 0, fmt.Errorf("the table of %s has %d bytes instead of %d", name, len(b), size)
	}
	return b, first, nil
}

// offset turns the place of something in a table, block and offset in the
// decompressed block, into an index of b.
func (t *table) offset(block uint64, off int) (int, error) {
	if block <= 1<<32-1 && off < metadataBlock {
		if i, ok := slices.BinarySearch(t.blocks, uint32(block)); ok && i*metadataBlock+off <= len(t.b) {
			return i*metadataBlock + off, nil
		}
	}
	return 0, fmt.Errorf("a reference into the table of %s, block %d, offset %d, leads nowhere", t.name, block, off)
}

// ref is offset for a reference that holds both: block<<16 | offset.
func (t *table) ref(r uint64) (int, error) { return t.offset(r>>16, int(r&0xffff)) }

// cursor reads little-endian fields one after the other. Past the end it gives
// zeros, and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}
