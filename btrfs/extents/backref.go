package extents

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
)

// fullBackref says, in an extent item, that what the tree block refers to names
// the block itself, not the file and the tree that it is in
// (BTRFS_BLOCK_FLAG_FULL_BACKREF).
const fullBackref = 1 << 8

// countReferences finds the extents which the kernel calls shared though one place
// of one file is all that refers to them: it counts references as they are
// written, and a leaf that was once shared between trees writes its own, not its
// file's. So an extent with parts in two leaves has two where such a leaf is among
// them, also when the other trees are long gone.
func (w *walk) countReferences(ctx context.Context, extentTree root, all map[uint64]*extent) error {
	parts := map[*extent][]uint64{} // the leaves of each extent
	var wanted []uint64
	for _, l := range w.leaves {
		for _, f := range l.files {
			e := all[f.extent]
			if !e.leaves || e.several || w.sets.several(e.in) {
				continue
			}
			if known := parts[e]; len(known) == 0 || known[len(known)-1] != l.at {
				parts[e] = append(known, l.at)
				wanted = append(wanted, l.at)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	slices.Sort(wanted)
	full, err := w.fullBackrefs(ctx, extentTree, slices.Compact(wanted))
	if err != nil {
		return err
	}
	for e, leaves := range parts {
		references, byFile := 0, 0
		for _, at := range leaves {
			if full[at] {
				references++
			} else {
				byFile = 1 // all others together
			}
		}
		e.several = references+byFile > 1
	}
	return nil
}

// fullBackrefs says which of the tree blocks at the addresses, which are sorted,
// have full back references.
func (w *walk) fullBackrefs(ctx context.Context, extentTree root, sorted []uint64) (map[uint64]bool, error) {
	full := map[uint64]bool{}
	wanted := func(first, last uint64) bool {
		i, _ := slices.BinarySearch(sorted, first)
		return i < len(sorted) && sorted[i] <= last
	}
	err := w.tree(ctx, extentTree.top, extentTree.level, wanted, func(k key, data []byte) error {
		_, found := slices.BinarySearch(sorted, k.object)
		if !found || k.kind != metadataKind && k.kind != extentItemKind {
			return nil
		}
		if len(data) < 24 { // struct btrfs_extent_item
			return fmt.Errorf("cannot parse an extent item of %d bytes", len(data))
		}
		full[k.object] = binary.LittleEndian.Uint64(data[16:])&fullBackref != 0
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the extent tree: %w", err)
	}
	return full, nil
}
