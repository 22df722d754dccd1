package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
)

// Of the tree of a subvolume (include/uapi/linux/btrfs_tree.h).
const (
	extentDataKey = 108
	extentInline  = 0 // BTRFS_FILE_EXTENT_INLINE: the data is in the item

	lastFreeObjectID = ^uint64(256) + 1 // BTRFS_LAST_FREE_OBJECTID, -256
)

// Referenced counts the bytes that the subvolume at path and all subvolumes
// nested in it reference: each extent of data once, as large as it is on disk,
// and the nodes of their trees. That is what full qgroups count, and what LXD
// and Incus limit. What is not written to disk yet is missing: Sync does that.
//
// It reads the trees, so it takes some milliseconds for 10 000 files.
func Referenced(ctx context.Context, path string) (uint64, error) {
	f, err := openSubvolume(path)
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	n, err := referenced(ctx, f)
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", path, err)
	}
	return n, nil
}

func referenced(ctx context.Context, f *os.File) (total uint64, err error) {
	id, err := rootID(f)
	if err != nil {
		return 0, err
	}
	ids := []uint64{id}
	s := newSearcher(f)
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		ids = append(ids, sub.ID)
		return true, ctx.Err()
	})
	if err != nil {
		return 0, err
	}
	seen := map[uint64]struct{}{}
	for _, id := range ids {
		item, err := s.first(rootTreeID, id, rootItemKey)
		if err != nil {
			return 0, err
		}
		total += rootBytes(item)
		if err := dataExtents(ctx, f, id, func(start, size uint64) {
			if _, again := seen[start]; !again {
				seen[start] = struct{}{}
				total += size
			}
		}); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// rootBytes is what the nodes of a tree take (bytes_used of struct
// btrfs_root_item); 0 when there is no item.
func rootBytes(item []byte) uint64 {
	const offset = 192
	if len(item) < offset+8 {
		return 0
	}
	return binary.LittleEndian.Uint64(item[offset:])
}

// dataExtents calls fn with each reference of a subvolume to an extent of data:
// its address and its size on disk.
func dataExtents(ctx context.Context, f *os.File, root uint64, fn func(start, size uint64)) error {
	from := itemKey{ObjectID: firstFreeObjectID}
	to := itemKey{lastFreeObjectID, math.MaxUint8, math.MaxUint64}
	n := 0
	return scan(f, root, from, to, func(k itemKey, data []byte) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if k.Type != extentDataKey {
			return nil
		}
		start, size, err := parseExtent(data)
		if err == nil && start != 0 {
			fn(start, size)
		}
		return err
	})
}

// parseExtent reads struct btrfs_file_extent_item; start is 0 for a hole and for
// data that is in the item.
func parseExtent(data []byte) (start, size uint64, err error) {
	const fixed, full = 21, 53
	if len(data) < fixed {
		return 0, 0, fmt.Errorf("cannot parse a file extent of %d bytes", len(data))
	}
	if data[20] == extentInline {
		return 0, 0, nil
	}
	if len(data) < full {
		return 0, 0, fmt.Errorf("cannot parse a file extent of %d bytes", len(data))
	}
	return binary.LittleEndian.Uint64(data[fixed:]), binary.LittleEndian.Uint64(data[29:]), nil
}
