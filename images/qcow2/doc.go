// Package qcow2 turns the disk image of a virtual machine (QEMU's qcow2, versions
// 2 and 3) into a raw disk while it streams in: zeros become holes, compressed
// clusters (deflate and zstd) are decompressed in parallel.
//
// Nothing but the file itself is ever read: one that has a backing file or an
// external data file is refused, as are encrypted ones and those with features
// that are unknown here. What a file may ask for is bounded (Limits and limits.go).
//
// The format is that of docs/interop/qcow2.rst in QEMU's source.
package qcow2
