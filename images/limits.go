package images

import (
	"poolctl/images/qcow2"
	"poolctl/images/tarball"
)

// Limits bound what an image may ask for. Fields that are zero take the default.
type Limits struct {
	// Entries is the number of files, directories and links of the whole image.
	// Default 1 Mi, which is the most inodes of a squashfs too (squashfs.MaxInodes).
	Entries int64
	// Bytes is the sum of the apparent sizes of all files, holes included, and the
	// most that a squashfs or a qcow2 may be long itself. Default 32 GiB. What is really
	// written is bounded by the file system.
	Bytes int64
	// MetadataBytes is the sum of the sizes of metadata.yaml and the templates.
	// Default 16 MiB.
	MetadataBytes int64
	// DiskBytes is the size of a virtual machine's disk. Default 1 TiB.
	DiskBytes int64
	// PathLen is the length of a name in bytes. Default 4096.
	PathLen int
	// Depth is the number of components of a name. Default 256.
	Depth int
}

// DefaultMetadataBytes is the default of Limits.MetadataBytes.
const DefaultMetadataBytes = 16 << 20

func (l Limits) withDefaults() Limits {
	t := tarball.Limits{Entries: l.Entries, Bytes: l.Bytes, PathLen: l.PathLen, Depth: l.Depth}.WithDefaults()
	if l.MetadataBytes <= 0 {
		l.MetadataBytes = DefaultMetadataBytes
	}
	if l.DiskBytes <= 0 {
		l.DiskBytes = qcow2.DefaultVirtualSize
	}
	return Limits{Entries: t.Entries, Bytes: t.Bytes, MetadataBytes: l.MetadataBytes, DiskBytes: l.DiskBytes, PathLen: t.PathLen, Depth: t.Depth}
}

func (l Limits) rootBudget() *tarball.Budget {
	return tarball.NewBudget(tarball.Limits{Entries: l.Entries, Bytes: l.Bytes, PathLen: l.PathLen, Depth: l.Depth})
}

func (l Limits) metadataBudget() *tarball.Budget {
	return tarball.NewBudget(tarball.Limits{Entries: l.Entries, Bytes: l.MetadataBytes, PathLen: l.PathLen, Depth: l.Depth})
}
