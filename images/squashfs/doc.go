// Package squashfs writes the tree of a squashfs file, as it streams in, below an
// open directory.
//
// It owns the check of the superblock and the confinement of the unsquashfs
// program, which does the work for now: the program runs in a private mount
// namespace where everything but the directory is read-only and no device can be
// opened, with the few capabilities that restoring files takes, so that no flaw
// in how it treats names lets an archive touch anything else. An Unpacker of our
// own can take its place behind the same interface.
package squashfs
