package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
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

func referenced(ctx context.Context, f *os.File) (uint64, error) {
	m := measuring{seen: map[uint64]struct{}{}}
	err := m.add(ctx, f)
	return m.disk + m.trees, err
}

// ReferencedBytes is what several subvolumes reference together.
type ReferencedBytes struct {
	// Data is what the extents hold, each counted once; Disk what they take as they
	// are stored, which is less when they are compressed.
	Data, Disk uint64
	// Trees is what the nodes of the trees take of that one which has the most:
	// those of snapshots of each other are mostly the same.
	Trees uint64
}

// ReferencedTogether counts the bytes that the subvolumes at these paths, with
// all that are nested in them, reference together; otherwise as Referenced.
func ReferencedTogether(ctx context.Context, paths ...string) (ReferencedBytes, error) {
	m := measuring{seen: map[uint64]struct{}{}}
	most := uint64(0)
	for _, path := range paths {
		f, err := openSubvolume(path)
		if err == nil {
			m.trees = 0
			err = errors.Join(m.add(ctx, f), f.Close())
			most = max(most, m.trees)
		}
		if err != nil {
			return ReferencedBytes{}, fmt.Errorf("cannot measure %s: %w", path, err)
		}
	}
	return ReferencedBytes{Data: m.data, Disk: m.disk, Trees: most}, nil
}

// measuring adds up what subvolumes reference.
type measuring struct {
	seen              map[uint64]struct{} // extents
	data, disk, trees uint64
}

// add adds the subvolume f and all that are nested in it.
func (m *measuring) add(ctx context.Context, f *os.File) error {
	id, err := rootID(f)
	if err != nil {
		return err
	}
	ids := []uint64{id}
	s := newSearcher(f)
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		ids = append(ids, sub.ID)
		return true, ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		item, err := s.first(rootTreeID, id, rootItemKey)
		if err != nil {
			return err
		}
		m.trees += rootBytes(item)
		if err := dataExtents(ctx, f, id, func(e dataExtent) {
			if _, again := m.seen[e.start]; !again {
				m.seen[e.start] = struct{}{}
				m.disk += e.size
				m.data += e.holds
			}
		}); err != nil {
			return err
		}
	}
	return nil
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

// dataExtent is an extent of data: its address, its size on disk, and how much it
// holds.
type dataExtent struct{ start, size, holds uint64 }

// dataExtents calls fn with each reference of a subvolume to an extent of data.
func dataExtents(ctx context.Context, f *os.File, root uint64, fn func(dataExtent)) error {
	from := Key{ObjectID: firstFreeObjectID}
	to := Key{lastFreeObjectID, math.MaxUint8, math.MaxUint64}
	n := 0
	return scan(f, root, from, to, func(k Key, data []byte) error {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if k.Type != extentDataKey {
			return nil
		}
		e, err := parseExtent(data)
		if err == nil && e.start != 0 {
			fn(e)
		}
		return err
	})
}

// parseExtent reads struct btrfs_file_extent_item; start is 0 for a hole and for
// data that is in the item.
func parseExtent(data []byte) (e dataExtent, err error) {
	const fixed, full = 21, 53
	if len(data) < fixed {
		return e, fmt.Errorf("cannot parse a file extent of %d bytes", len(data))
	}
	if data[20] == extentInline {
		return e, nil
	}
	if len(data) < full {
		return e, fmt.Errorf("cannot parse a file extent of %d bytes", len(data))
	}
	return dataExtent{
		start: binary.LittleEndian.Uint64(data[fixed:]), size: binary.LittleEndian.Uint64(data[29:]),
		holds: binary.LittleEndian.Uint64(data[8:]), // ram_bytes
	}, nil
}
