package extents

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// block is what is wanted of a tree block of a subvolume.
type block struct {
	children []pointer    // of a node
	files    []fileExtent // of a leaf
	// orphans are the inodes that have no name any more, but are still open, or
	// not yet freed; of a leaf.
	orphans []uint64
}

func parseBlock(raw []byte, level int) (b block, err error) {
	if level > 0 {
		b.children, _, err = children(raw)
		return b, err
	}
	err = items(raw, func(k key, data []byte) error {
		switch {
		case k.kind == extentDataKind:
			f, ok, err := parseFileExtent(k, data)
			if ok {
				b.files = append(b.files, f)
			}
			return err
		case k.object == orphanObject && k.kind == orphanItemKind:
			b.orphans = append(b.orphans, k.offset)
		}
		return nil
	})
	return b, err
}

// cache has the tree blocks that were read: what a pointer means never changes.
type cache map[pointer]block

// leaf is a leaf with the subvolumes that have it.
type leaf struct {
	block
	in setID
	at uint64 // its address
}

// walk reads the trees of all subvolumes, each block once.
type walk struct {
	*reader
	cache cache
	sets  *sets
	// metadata counts the bytes of tree blocks by the subvolumes that have them.
	metadata tally
	leaves   []leaf
	// read is told of the bytes of each batch of tree blocks.
	read func(bytes int64)
}

// run walks from the top down: when a level is read, every pointer to it is known.
func (w *walk) run(ctx context.Context, roots []root) error {
	var levels [maxLevel + 1]map[pointer]setID
	for i := range levels {
		levels[i] = map[pointer]setID{}
	}
	for i, r := range roots {
		at := levels[r.level]
		at[r.top] = w.sets.union(at[r.top], w.sets.single(i))
	}
	for level := maxLevel; level >= 0; level-- {
		// In order, so that what is united again and again is so in one order, and
		// makes few sets.
		order := slices.SortedFunc(maps.Keys(levels[level]), func(a, b pointer) int { return cmp.Compare(a.bytenr, b.bytenr) })
		blocks, err := w.level(ctx, level, order)
		if err != nil {
			return err
		}
		for _, p := range order {
			in := levels[level][p]
			w.metadata[in] += uint64(w.super.nodesize) //nolint:gosec // at most 64 KiB
			b := blocks[p]
			for _, child := range b.children {
				below := levels[level-1]
				below[child] = w.sets.union(below[child], in)
			}
			if level == 0 {
				w.leaves = append(w.leaves, leaf{b, in, p.bytenr})
			}
		}
		levels[level] = nil
	}
	return nil
}

// batch is how many blocks are read between two calls of read.
const batch = 1024

// level reads the blocks of one level that are not known yet.
func (w *walk) level(ctx context.Context, level int, wanted []pointer) (map[pointer]block, error) {
	blocks := make(map[pointer]block, len(wanted))
	var missing []pointer
	for _, p := range wanted {
		if b, ok := w.cache[p]; ok {
			blocks[p] = b
		} else {
			missing = append(missing, p)
		}
	}
	w.read(int64(len(blocks)) * int64(w.super.nodesize))
	for some := range slices.Chunk(missing, batch) {
		got := make([]*block, len(some))
		err := w.blocks(ctx, level, some, func(i int, raw []byte) error {
			b, err := parseBlock(raw, level)
			if err == nil {
				got[i] = &b
			}
			return err
		})
		for i, p := range some {
			if got[i] != nil { // also when another one failed: it need not be read again
				blocks[p] = *got[i]
				w.cache[p] = *got[i]
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the trees of the subvolumes: %w", err)
		}
		w.read(int64(len(some)) * int64(w.super.nodesize))
	}
	return blocks, nil
}
