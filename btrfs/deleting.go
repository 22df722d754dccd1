package btrfs

import (
	"errors"
	"fmt"
	"os"
)

// Of the root tree (include/uapi/linux/btrfs_tree.h): a subvolume that is
// deleted has an orphan item until the cleaner has freed it.
const (
	orphanObject  = ^uint64(5) + 1 // -5
	orphanItemKey = 48
)

// Deleting says whether subvolumes that were deleted in the file system at path
// are still being freed: their space comes back when the cleaner is done with
// them and the transaction is committed (Sync).
func Deleting(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	found := false
	err = newSearcher(f).items(rootTreeID, orphanObject, orphanItemKey, func(uint64, []byte) error {
		found = true
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("cannot ask %s for deleted subvolumes: %w", path, err)
	}
	return found, errors.Join(err, f.Close())
}
