package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/tarball"
)

// Source is what an image is packed of. What is packed of the same source is the
// same each time, but for xz on another number of cores.
type Source struct {
	Metadata *Metadata
	// Templates are the files of templates/ by name.
	Templates map[string][]byte
	// Root is the directory that becomes the root, with the owners that it is to
	// have. Sockets are left out of archives.
	Root *os.File
	// Disk is the raw disk of a virtual machine's image, which has that in place of Root.
	Disk *os.File
	// Report, when not nil, is told how many bytes of files have been packed, and of a
	// squashfs or qcow2 how many it has by now.
	Report func(done int64)
}

// maxTemplates bounds what ReadTemplates reads: the number of files.
const maxTemplates = 1000

// ReadTemplates reads the plain files of dir/templates, of which there may be none.
func ReadTemplates(dir string) (map[string][]byte, error) {
	d, err := os.OpenFile(dir+"/"+templatesDir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the templates: %w", err)
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(maxTemplates + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the templates: %w", err)
	}
	if len(names) > maxTemplates {
		return nil, fmt.Errorf("cannot read the templates: there are more than %d", maxTemplates)
	}
	out := map[string][]byte{}
	left := int64(DefaultMetadataBytes - MaxMetadata)
	for _, name := range names {
		b, err := readFileAt(d, name, left)
		if err != nil {
			return nil, fmt.Errorf("cannot read the templates: %w", err)
		}
		out[name] = b
		left -= int64(len(b))
	}
	return out, nil
}

// PackMetadata writes the metadata file of a split image: a tar archive of
// metadata.yaml and templates/.
func (s *Source) PackMetadata(ctx context.Context, m compress.Method, w io.Writer) error {
	return s.archive(ctx, m, w, s.addMetadata)
}

// PackRoot writes the root file of a split image as a tar archive.
func (s *Source) PackRoot(ctx context.Context, m compress.Method, w io.Writer) error {
	return s.archive(ctx, m, w, func(a *tarball.Writer) error { return a.AddTree(ctx, s.Root, ".") })
}

// PackUnified writes a unified image: one tar archive of all.
func (s *Source) PackUnified(ctx context.Context, m compress.Method, w io.Writer) error {
	return s.archive(ctx, m, w, func(a *tarball.Writer) error {
		if err := s.addMetadata(a); err != nil {
			return err
		}
		return a.AddTree(ctx, s.Root, rootfsDir)
	})
}

// archive writes a compressed archive of what add adds.
func (s *Source) archive(ctx context.Context, m compress.Method, w io.Writer, add func(*tarball.Writer) error) error {
	z, err := compress.NewWriter(ctx, m, w)
	if err != nil {
		return err
	}
	a := tarball.NewWriter(z)
	a.Report = s.Report
	err = add(a)
	if err == nil {
		err = a.Close()
	}
	if cerr := z.Close(); err == nil { // the first error is the cause of this one
		err = cerr
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

// addMetadata writes metadata.yaml and templates/, as of the image's creation.
func (s *Source) addMetadata(a *tarball.Writer) error {
	raw, err := s.Metadata.Encode()
	if err != nil {
		return err
	}
	at := time.Unix(s.Metadata.CreationDate, 0)
	if err := a.AddPublic(metadataFile, raw, at); err != nil {
		return err
	}
	names := make([]string, 0, len(s.Templates))
	for name := range s.Templates {
		names = append(names, name)
	}
	if len(names) > 0 {
		err = a.AddDirectory(templatesDir, at)
	}
	slices.Sort(names)
	for _, name := range names {
		if err != nil {
			return err
		}
		err = a.AddPublic(templatesDir+"/"+name, s.Templates[name], at)
	}
	return err
}
