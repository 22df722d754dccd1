package squashfs

import (
	"poolctl/images/internal/restore"
)

// Limits on what a squashfs may hold, each several times what the largest real
// images need; they bound the memory that unpacking takes.
const (
	// MaxInodes bounds the files, directories and so on.
	MaxInodes = 1 << 20
	// maxTail bounds the compressed tables at the end of the file, in bytes.
	maxTail = 32 << 20
	// maxInodeTable and the next ones bound decompressed tables, in bytes.
	maxInodeTable = 48 << 20
	maxDirTable   = 32 << 20
	maxXattrTable = 16 << 20
	// maxPieces bounds the blocks of all files: 256 GiB of them at the usual 128 KiB.
	maxPieces = 2 << 20
	// maxXattrs and maxXattrValue bound the extended attributes of one file, in
	// number and in bytes each (XATTR_SIZE_MAX of linux/limits.h).
	maxXattrs     = 256
	maxXattrValue = 64 << 10
	// maxTarget bounds the text of a symbolic link in bytes (PATH_MAX less its NUL).
	maxTarget = 4095
)

// Limits are those that the caller may set. Depth and PathLen bound the names,
// Entries the names in all directories (hard links each count), Bytes the sum of
// the files' sizes, holes included, and their attributes.
type Limits = restore.Limits

// LimitError says which limit a squashfs exceeds.
type LimitError = restore.LimitError
