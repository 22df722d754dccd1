package btrfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// compressionAt is where struct btrfs_file_extent_item (include/uapi/linux/btrfs_tree.h) says how its extent is compressed; 0: not.
const compressionAt = 16

// CompressedExtents counts the compressed extents of the open file f that begin in its first size bytes, inline ones among them. What
// was not written out yet has none.
func CompressedExtents(f *os.File, size int64) (count int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("cannot count the extents of %s: %w", f.Name(), err)
	}
	const itsTree = 0
	err = newSearcher(f).items(itsTree, st.Ino, extentDataKey, func(offset uint64, data []byte) error {
		if int64(offset) < size && len(data) > compressionAt && data[compressionAt] != 0 { //nolint:gosec // of a file
			count++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot count the extents of %s: %w", f.Name(), err)
	}
	return count, nil
}
