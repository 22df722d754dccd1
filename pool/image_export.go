package pool

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"poolctl/images"
)

// ExportImageOptions are the arguments of ExportImage.
type ExportImageOptions struct {
	Image    string // [REMOTE:]IMAGE
	Type     string // of a remote that has both: remotes.TypeContainer or TypeVM; "" = a container, or else a virtual machine
	Target   string // a directory, or the file to write; "" = the working directory
	Force    bool   // overwrite files
	Progress func(Progress)
}

// ExportedImage is what ExportImage wrote.
type ExportedImage struct {
	Fingerprint string
	Files       []string
}

// ExportImage writes the files of an image, as they came, and under Incus's names:
// into a directory FINGERPRINT.EXT of a unified image, and meta-FINGERPRINT.EXT and
// FINGERPRINT.EXT of a split one; with a file's name as the target TARGET.EXT, and
// TARGET and TARGET.root.
//
// The files that the pool does not have are fetched from where the image was
// pulled from, and verified. Where nobody has them any more, the image is packed
// anew, which is told: its fingerprint is another one then.
//
// The files are there when all of them are complete, and not before. A symbolic link is
// followed, and a stream (see targetOf) gets a unified image as it is.
func (s *System) ExportImage(ctx context.Context, o ExportImageOptions) (out ExportedImage, err error) {
	fail := func(err error) error { return fmt.Errorf("cannot export image %s: %w", o.Image, err) }
	dir, base := o.Target, ""
	if dir == "" {
		dir = "."
	}
	if info, serr := os.Stat(dir); serr != nil || !info.IsDir() {
		if strings.HasSuffix(dir, "/") {
			return out, fail(fmt.Errorf("there is no directory %s", o.Target))
		}
		target, err := targetOf(dir)
		if err != nil {
			return out, fail(fmt.Errorf("%s: %w", o.Target, err))
		}
		if target.stream {
			return out, s.exportImageStream(ctx, o, target)
		}
		dir, base = filepath.Dir(target.path), filepath.Base(target.path)
	}
	src, err := s.imageSource(ctx, o.Image, o.Type)
	if err != nil {
		return out, fail(err)
	}
	defer func() { err = errors.Join(err, src.close()) }()
	files := &hostFiles{s: s, force: o.Force}
	defer func() { err = errors.Join(err, files.close()) }()
	if err := s.writeImage(ctx, src, files, dir, o.Progress); err != nil {
		return out, fail(targetFull(err, dir))
	}
	if err := src.nameFiles(files, dir, base); err != nil {
		return out, fail(err)
	}
	if err := files.commit(ctx); err != nil {
		return out, fail(err)
	}
	out.Fingerprint = src.fingerprint
	for _, f := range files.files {
		out.Files = append(out.Files, f.path)
	}
	return out, nil
}

// targetFull adds what to do when the target is full.
func targetFull(err error, dir string) error {
	if isFull(err) {
		return withHint(err, "make room in %s, or write it elsewhere", dir)
	}
	return err
}

// writeImage writes the files of an image into new ones of dir.
func (s *System) writeImage(ctx context.Context, src *imageSource, files *hostFiles, dir string, progress func(Progress)) error {
	if err := s.targetRoom(ctx, src, dir); err != nil {
		return err
	}
	if src.repack != nil {
		src.report(progress)
		err := src.packAnew(ctx, func(string) (*os.File, error) {
			f, err := files.create(ctx, dir)
			if err != nil {
				return nil, err
			}
			return f.dup()
		})
		if err == nil {
			src.fingerprint, err = sumFiles(ctx, files.files)
		}
		return err
	}
	sum := sha256.New()
	for _, part := range src.parts {
		f, err := files.create(ctx, dir)
		if err != nil {
			return err
		}
		if err := part.copyTo(ctx, io.MultiWriter(f, sum), progress); err != nil {
			return err
		}
	}
	return src.verify(sum)
}

// ExportImageTo writes a unified image to a stream.
func (s *System) ExportImageTo(ctx context.Context, o ExportImageOptions, w io.Writer) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot export image %s: %w", o.Image, err) }
	src, err := s.imageSource(ctx, o.Image, o.Type)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, src.close()) }()
	if src.repack != nil || len(src.parts) != 1 {
		return fail(withHint(errors.New("it is a split image, of two files"), "export it to a directory"))
	}
	sum := sha256.New()
	if err = src.parts[0].copyTo(ctx, io.MultiWriter(interruptibleWriter(ctx, w), sum), o.Progress); err == nil {
		err = src.verify(sum)
	}
	if err != nil {
		err = fail(err)
	}
	return err
}

// exportImageStream is ExportImageTo to what is no regular file.
func (s *System) exportImageStream(ctx context.Context, o ExportImageOptions, t fileTarget) error {
	f, err := t.open(ctx)
	if err != nil {
		return fmt.Errorf("cannot export image %s: %s: %w", o.Image, t.path, err)
	}
	return errors.Join(s.ExportImageTo(ctx, o, f), f.Close())
}

// targetRoom refuses what does not fit where it is to be written.
func (s *System) targetRoom(ctx context.Context, src *imageSource, dir string) error {
	size := int64(0)
	for _, p := range src.parts {
		size += p.size
	}
	if src.repack != nil {
		size = src.rec.Size
	}
	free, err := freeAt(dir)
	if err != nil {
		return err
	}
	if size > free {
		return withHint(fmt.Errorf("%s has %s free, and the image takes %s", dir, FormatSize(free), FormatSize(size)), "make room there, or write it elsewhere")
	}
	return ctx.Err()
}

// nameFiles gives the written files Incus's names.
func (src *imageSource) nameFiles(files *hostFiles, dir, base string) error {
	ext := make([]string, len(files.files))
	for i, f := range files.files {
		format, err := images.FormatOf(f)
		if err != nil {
			return err
		}
		ext[i] = format.Extension()
	}
	switch {
	case base == "" && len(ext) == 1:
		files.files[0].path = filepath.Join(dir, src.fingerprint+ext[0])
	case base == "":
		files.files[0].path = filepath.Join(dir, "meta-"+src.fingerprint+ext[0])
		files.files[1].path = filepath.Join(dir, src.fingerprint+ext[1])
	case len(ext) == 1:
		files.files[0].path = filepath.Join(dir, strings.TrimSuffix(base, ext[0])+ext[0])
	default:
		files.files[0].path = filepath.Join(dir, base)
		files.files[1].path = filepath.Join(dir, base+".root")
	}
	return nil
}
