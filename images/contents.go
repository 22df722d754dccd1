package images

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"path"

	"poolctl/images/compress"
)

// Bounds on how far into an archive HasMetadata looks. Metadata archives are
// small; in unified ones metadata.yaml comes early.
const (
	metadataEntries = 10_000
	metadataDepth   = 64 << 20 // decompressed bytes
)

// HasMetadata says whether a file of an image is one with metadata.yaml: the
// metadata of a split image, or a unified one. A squashfs or a disk is not, and
// neither is what cannot be read.
func HasMetadata(ctx context.Context, r io.Reader) (bool, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := peek(buffered)
	if err != nil {
		return false, err
	}
	plain, err := compress.NewReader(ctx, compress.Detect(head), buffered)
	if err != nil {
		return false, ctx.Err()
	}
	defer func() { _ = plain.Close() }() // given up in the middle
	archive := tar.NewReader(io.LimitReader(plain, metadataDepth))
	for range metadataEntries {
		hdr, err := archive.Next()
		if err != nil {
			return false, ctx.Err()
		}
		if hdr.Typeflag == tar.TypeReg && path.Clean("/"+hdr.Name) == "/"+metadataFile {
			return true, nil
		}
	}
	return false, nil
}

// FormatOf is the format of a file by its first bytes; it is read from the
// beginning, and where it stands does not change.
func FormatOf(r io.ReaderAt) (compress.Format, error) {
	head, err := headOf(r)
	if err != nil {
		return compress.Unknown, err
	}
	return compress.Detect(head), nil
}

// KnownToLXD says whether LXD and Incus can unpack a file (compress.KnownToLXD).
func KnownToLXD(r io.ReaderAt) (bool, error) {
	head, err := headOf(r)
	return err == nil && compress.KnownToLXD(head), err
}

// headOf reads the first bytes of a file.
func headOf(r io.ReaderAt) ([]byte, error) {
	head := make([]byte, compress.HeadSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}
