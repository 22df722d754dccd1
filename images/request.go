package images

import (
	"context"
	"fmt"
	"io"
)

// Part is one file of an image, opened when it is needed. What Open returns
// verifies itself: a Read that would return io.EOF returns an error instead when
// the hash or the size is wrong. Closing it must end a Read that blocks.
//
// If it is an io.ReaderAt as well, of the same file (an *os.File is), a squashfs,
// whose tables are at its end, is unpacked while it is read; else, or where ReadAt
// fails, it is stored in TempDir first.
type Part struct {
	Name string // for messages and progress, such as "rootfs.squashfs"
	Size int64  // bytes; <= 0 = unknown
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Request says what to unpack and where.
type Request struct {
	// Either Metadata and Rootfs (a split image) or Unified is set.
	Metadata, Rootfs *Part
	Unified          *Part
	// Fingerprint is the expected one, in lower-case hexadecimal; "" accepts any.
	Fingerprint string
	// Strict refuses files behind whose end is something other than zeros, which archives
	// and squashfs are padded with. It is for files for which nobody
	// vouches: where a Fingerprint of somebody else's is expected, what follows the end
	// is meant to be there, and LXD and Incus take it.
	Strict bool
	// Type is TypeContainer or TypeVM when only such an image will do; "" takes both.
	Type string
	// Dir is an existing empty directory or subvolume.
	Dir string
	// TempDir is where a squashfs is kept whose end cannot be read before its
	// beginning, in a file without a name; "" = Dir.
	TempDir string
	Limits  Limits
	// Base, when not nil, says which image here is the nearest to this one: the
	// directory of it, unpacked, on the same file system, or "". It is given what
	// metadata.yaml says, nil for a unified image, where it is not known in time. Files
	// of the same name share the bytes that are the same there. It must not change
	// meanwhile; one that is deleted, or cannot be used, is as none.
	Base func(*Metadata) string
	// Pass, when not nil, is asked before n bytes of content are written, by several
	// goroutines at once. It may wait, and its error ends the unpacking.
	Pass func(n int) error
	// Progress, when not nil, is called about ten times a second, and once at the
	// end of each part, never concurrently.
	Progress func(Progress)
}

// Progress says how much of a part has been read.
type Progress struct {
	Name  string // the part's
	Done  int64  // compressed bytes
	Total int64  // 0 = unknown
}

// Result describes an unpacked image.
type Result struct {
	Fingerprint string
	Size        int64 // compressed bytes of all parts
	Metadata    *Metadata
	// VirtualSize is the size in bytes of a virtual machine's disk; 0 = a container.
	VirtualSize int64
	// DevicesLeftOut counts the device nodes that were not made, without what DevSkipped counts.
	DevicesLeftOut int
	// DevSkipped counts the contents of /dev in tar archives, which are never unpacked: device
	// nodes and whatever else is no directory.
	DevSkipped int
	// Shared is how many bytes were not written, being the same in the base.
	Shared int64
}

// FingerprintError says that the bytes of an image are not those of the expected
// fingerprint.
type FingerprintError struct{ Want, Got string }

func (e *FingerprintError) Error() string {
	return fmt.Sprintf("the image's fingerprint is %s, expected %s", e.Got, e.Want)
}

// SizeError says that a part is longer or shorter than announced.
type SizeError struct {
	Name      string
	Want, Got int64 // bytes; Got is at least that many when it is the larger one
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, expected %d", e.Name, e.Got, e.Want)
}
