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
	return ReferencedBeyond(ctx, nil, paths)
}

// ReferencedByIDs counts the bytes that the subvolumes with these ids, of the file system
// that the subvolume at path is in, reference together; otherwise as Referenced. Trees is of
// all of them, also of nodes that they share.
func ReferencedByIDs(ctx context.Context, path string, ids ...uint64) (_ ReferencedBytes, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot measure what is in %s: %w", path, err)
		}
	}()
	f, err := openSubvolume(path)
	if err != nil {
		return ReferencedBytes{}, err
	}
	defer func() { _ = f.Close() }()
	m := measuring{seen: map[uint64]struct{}{}}
	s := newSearcher(f)
	for _, id := range ids {
		if err = m.addTrees(s, id); err == nil {
			err = m.addData(ctx, f, id, 0)
		}
		if err != nil {
			return ReferencedBytes{}, err
		}
	}
	return ReferencedBytes{Data: m.data, Disk: m.disk, Trees: m.trees}, nil
}

// measuring adds up what subvolumes reference.
type measuring struct {
	seen              map[uint64]struct{} // extents
	data, disk, trees uint64
}

// add adds the subvolume f and all that are nested in it.
func (m *measuring) add(ctx context.Context, f *os.File) error {
	s := newSearcher(f)
	ids, err := treeIDs(ctx, f, s)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := m.addTrees(s, id); err != nil {
			return err
		}
		if err := m.addData(ctx, f, id, 0); err != nil {
			return err
		}
	}
	return nil
}

// addTrees adds the nodes of the tree of one subvolume.
func (m *measuring) addTrees(s *searcher, id uint64) error {
	item, err := s.first(rootTreeID, id, rootItemKey)
	m.trees += rootBytes(item)
	return err
}

// addData adds the extents of one subvolume, and with since only those of a later
// transaction.
func (m *measuring) addData(ctx context.Context, f *os.File, id, since uint64) error {
	return dataExtents(ctx, f, id, since, func(e dataExtent) {
		if _, again := m.seen[e.start]; !again && e.made > since {
			m.seen[e.start] = struct{}{}
			m.disk += e.size
			m.data += e.holds
		}
	})
}

// treeIDs are the ids of the subvolume f and of all that are nested in it.
func treeIDs(ctx context.Context, f *os.File, s *searcher) ([]uint64, error) {
	id, err := rootID(f)
	if err != nil {
		return nil, err
	}
	ids := []uint64{id}
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		ids = append(ids, sub.ID)
		return true, ctx.Err()
	})
	return ids, err
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

// dataExtent is an extent of data: its address, its size on disk, how much it
// holds, and the transaction in which it was made.
type dataExtent struct{ start, size, holds, made uint64 }

// dataExtents calls fn with each reference of a subvolume to an extent of data; with
// since with those that Trees.Scan finds then.
func dataExtents(ctx context.Context, f *os.File, root, since uint64, fn func(dataExtent)) error {
	from := Key{ObjectID: firstFreeObjectID}
	to := Key{lastFreeObjectID, math.MaxUint8, math.MaxUint64}
	n := 0
	return (&Trees{f, new(scanArgs)}).Scan(root, from, to, since, func(k Key, data []byte) error {
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
		made:  binary.LittleEndian.Uint64(data),
	}, nil
}
