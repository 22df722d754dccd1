// Package diff says what differs between two directory trees of btrfs, by what
// the trees of the file system say of them: no file is read.
//
// # Subvolumes that are snapshots of each other
//
// Two subvolumes with a common ancestor (btrfs.Origins.Parted) have all leaves in
// common that neither has written since. Each change of a file, of its name too,
// writes its inode, so the inodes in the leaves that are newer are all that can
// have changed, whatever the size of the trees. An inode that was there when the
// two parted is the same file in both, under whatever names: that is how renames
// are told. What a directory has lost is found by comparing its entries, as the
// leaf of what is gone may be gone as well.
//
// Extents say whether contents are the same. A file that was written again with
// the same bytes has others, and differs; one that was only moved on the disk (by
// defragmentation) has the times that it had, and does not. A balance moves what
// is shared for both.
//
// # Others
//
// Trees without a common ancestor, also on two file systems, are compared name by
// name. Files with the same extents are the same; of others the size and the time
// of the last change decide, as with rsync.
//
// Times of files are not compared by themselves. Subvolumes nested in the trees
// are compared in the same ways, as if they were directories.
//
// Sources: Documentation/dev/On-disk-format of btrfs, and the structures of
// include/uapi/linux/btrfs_tree.h.
package diff
