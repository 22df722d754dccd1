package qcow2

import "poolctl/images/internal/restore"

// Limits on what a qcow2 may hold; they bound the memory that reading it takes.
const (
	// DefaultVirtualSize is the default of Limits.VirtualSize, in bytes.
	DefaultVirtualSize = 1 << 40
	// maxL1 bounds the entries of the first table: as many second tables. At the
	// usual 64 KiB clusters that is 512 TiB.
	maxL1 = 1 << 20
	// maxPieces bounds the runs of clusters that lie behind each other, compressed
	// clusters each counting as one: 64 GiB of those at the usual 64 KiB.
	maxPieces = 1 << 20
	// aheadTables bounds how many second tables are read ahead of their turn; a file
	// with more is stored first.
	aheadTables = 64
	// maxClusterBits and minClusterBits are QEMU's (MAX_CLUSTER_BITS, MIN_CLUSTER_BITS of block/qcow2.h).
	minClusterBits, maxClusterBits = 9, 21
)

// Limits are those that the caller may set. Zero fields take the default.
type Limits struct {
	// VirtualSize is the size of the disk in bytes. Default 1 TiB.
	VirtualSize int64
	// Bytes is the length of the file. Default 32 GiB.
	Bytes int64
}

// LimitError says which limit a qcow2 exceeds.
type LimitError = restore.LimitError

func (l Limits) withDefaults() Limits {
	if l.VirtualSize <= 0 {
		l.VirtualSize = DefaultVirtualSize
	}
	if l.Bytes <= 0 {
		l.Bytes = restore.DefaultBytes
	}
	return l
}
