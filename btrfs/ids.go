package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// SubvolumeIDs are the ids of all subvolumes of the file system that path is on,
// without the top level and without those that were deleted and that the
// kernel's cleaner has not freed yet.
func SubvolumeIDs(path string) (map[uint64]bool, error) {
	f, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot list the subvolumes of %s: %w", path, err)
	}
	ids := map[uint64]bool{}
	err = scan(f, rootTreeID, Key{ObjectID: firstFreeObjectID}, Key{ObjectID: lastFreeObjectID}, func(k Key, data []byte) error {
		if k.Type == rootItemKey && rootRefs(data) > 0 {
			ids[k.ObjectID] = true
		}
		return nil
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot list the subvolumes of %s: %w", path, err)
	}
	return ids, nil
}

// rootRefs is 0 for a subvolume that was deleted (refs of struct
// btrfs_root_item).
func rootRefs(item []byte) uint32 {
	const offset = 216
	if len(item) < offset+4 {
		return 0
	}
	return binary.LittleEndian.Uint32(item[offset:])
}

// hasSnapshots says whether a subvolume of the file system was made as a snapshot: its root item has the transaction in its key,
// that of any other has 0 (create_pending_snapshot in fs/btrfs/transaction.c).
func hasSnapshots(f *os.File) (bool, error) {
	found := false
	err := scan(f, rootTreeID, Key{ObjectID: firstFreeObjectID}, Key{ObjectID: lastFreeObjectID}, func(k Key, _ []byte) error {
		found = found || k.Type == rootItemKey && k.Offset != 0
		return nil
	})
	return found, err
}
