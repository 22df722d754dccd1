package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"poolctl/images"
	"poolctl/images/compress"
	"poolctl/pool/tree"
)

// PackOptions say how an image is packed.
type PackOptions struct {
	Format      string // "" or "split", "unified"
	Compression string // see compress.ParseMethod; "" = squashfs, or zstd where that cannot be
}

// packing is PackOptions as they are carried out.
type packing struct {
	unified bool
	root    compress.Method // of the root, or of the unified archive
}

// parsePacking reads what a user says; the zero Format of root means that the
// choice is ours.
func parsePacking(o PackOptions) (packing, error) {
	var how packing
	switch o.Format {
	case "", "split":
	case "unified":
		how.unified = true
	default:
		return how, withHint(fmt.Errorf("unknown format %q", o.Format), "split or unified")
	}
	if o.Compression == "" {
		return how, nil
	}
	var err error
	if how.root, err = compress.ParseMethod(o.Compression); err != nil {
		return how, withHint(err, "squashfs, or none, gzip, xz, zstd, bzip2, lz4 or lzma for archives, with a level behind it: \"xz -9\"")
	}
	if how.root.Format != compress.Squashfs {
		return how, nil
	}
	if how.unified {
		return how, withHint(errors.New("a unified image is an archive, and no squashfs"), "choose another --compression, or --format split")
	}
	if !images.HasSquashfs() {
		return how, withHint(errors.New("the program mksquashfs is not installed"), "apt install squashfs-tools; or --compression zstd")
	}
	return how, nil
}

// choosePacking chooses what the user did not: a squashfs, unless files have POSIX ACLs,
// for which it has no place, or mksquashfs is missing; then, and for a unified
// image, an archive with zstd.
func (s *System) choosePacking(ctx context.Context, how *packing, root *os.File) error {
	chosen := how.root.Format != compress.Unknown
	if chosen && how.root.Format != compress.Squashfs {
		return nil
	}
	if how.unified {
		how.root.Format = compress.Zstd
		return nil
	}
	acls, err := images.CountACLs(ctx, root)
	if err != nil {
		return err
	}
	switch {
	case chosen && acls > 0:
		s.noticef("%d files have POSIX ACLs, which the squashfs is without; --compression zstd keeps them", acls)
	case chosen:
	case acls > 0:
		how.root.Format = compress.Zstd
		s.noticef("the root is packed as .tar.zst and not as a squashfs, which cannot hold the POSIX ACLs of %d files; --compression squashfs leaves them out", acls)
	case !images.HasSquashfs():
		how.root.Format = compress.Zstd
		s.noticef("the root is packed as .tar.zst and not as a squashfs: the program mksquashfs is not installed (apt install squashfs-tools)")
	default:
		how.root.Format = compress.Squashfs
	}
	return nil
}

// pack packs an image into files that create makes by their names (those of
// package tree), and returns the names in the order of the fingerprint.
func pack(ctx context.Context, src *images.Source, how packing, create func(name string) (*os.File, error)) ([]string, error) {
	write := func(name string, write func(f *os.File) error) error {
		f, err := create(name)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	if how.unified {
		return []string{tree.OriginalUnified}, write(tree.OriginalUnified, func(f *os.File) error { return src.PackUnified(ctx, how.root, f) })
	}
	err := write(tree.OriginalMetadata, func(f *os.File) error { return src.PackMetadata(ctx, metadataMethod(), f) })
	if err == nil {
		err = write(tree.OriginalRootfs, func(f *os.File) error {
			if src.Disk != nil {
				return src.PackDisk(ctx, f)
			}
			if how.root.Format == compress.Squashfs {
				return src.PackSquashfs(ctx, how.root.Level, f)
			}
			return src.PackRoot(ctx, how.root, f)
		})
	}
	return []string{tree.OriginalMetadata, tree.OriginalRootfs}, err
}

// metadataMethod is how all servers compress metadata; where xz is missing, zstd
// does, which LXD and Incus recognise as well.
func metadataMethod() compress.Method {
	if compress.Has(compress.XZ) {
		return compress.Method{Format: compress.XZ}
	}
	return compress.Method{Format: compress.Zstd}
}

// CompressionMethods names what PackOptions.Compression can be.
func CompressionMethods() string { return compress.Methods() }
