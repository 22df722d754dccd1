// Package extents says which subvolumes of a mounted btrfs file system share
// which extents: what each refers to, what it alone refers to, and what deleting
// several together would free. It needs no quota groups.
//
// # How
//
// Snapshots share subtrees, not only extents, and the kernel's ioctls show items,
// never the tree blocks that hold them. So the tree blocks are read from the
// device. They are written once and never changed in place, and a superblock names
// those of one commit: everything below it is one consistent state, whatever is
// written meanwhile. Each tree block is read once, however many subvolumes have it:
// from the top down, level by level, a block belongs to the subvolumes of all the
// blocks that point to it, and an extent to those of all the leaves that do.
//
// Space that a later commit freed can be written again while it is being read. A
// block's checksum, address, generation and level then are not those that the
// pointer to it has, and the walk begins again from the newest superblock; what was
// read already is still good where a pointer has the same address and generation.
//
// # Two accountings
//
// Referenced and Exclusive are those of quota groups: whole extents as they are on
// disk (compressed, also where only a part of one is still in a file), and the tree
// blocks of the subvolumes. Files are those of "btrfs filesystem du": the ranges of
// files, uncompressed, and what the kernel calls shared (FIEMAP_EXTENT_SHARED),
// which includes what one subvolume shares with itself.
//
// Sources: Documentation/dev/On-disk-format of btrfs, and the structures of
// include/uapi/linux/btrfs_tree.h.
package extents
