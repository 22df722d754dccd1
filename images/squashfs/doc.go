// Package squashfs writes the tree of a squashfs 4.0 file, as it streams in, below
// an open directory.
//
// The format is that of the kernel's fs/squashfs/squashfs_fs.h: a superblock, the
// data blocks, and behind them tables of inodes, directories, fragments, owners
// and extended attributes. The tables say which block belongs to which files, so
// they are needed first, and come last. An Unpacker reads them ahead of their
// turn, checks the whole tree before anything is written, and then takes the
// blocks in the order of the file: they are decompressed in parallel and written
// where they belong, so that all is there soon after the last block.
//
// Everything is kept that squashfs holds: owners, modes with set-id bits, times
// (whole seconds), hard links, holes, extended attributes with file capabilities,
// fifos, sockets, and the device nodes that are harmless
// (images/internal/restore). Names never lead out of the directory: they are
// plain, in order, and resolved with openat2(2) or from the descriptor of their
// directory, following no links.
//
// Memory is bounded by limits on the tables (limits.go) and on the blocks that are
// on their way (job.go).
package squashfs
