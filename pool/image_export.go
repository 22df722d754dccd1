package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/images"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// ExportImageOptions are the arguments of ExportImage.
type ExportImageOptions struct {
	Image    string // [REMOTE:]IMAGE
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
// The files are there when all of them are complete, and not before.
func (s *System) ExportImage(ctx context.Context, o ExportImageOptions) (out ExportedImage, err error) {
	fail := func(err error) error { return fmt.Errorf("cannot export image %s: %w", o.Image, err) }
	src, err := s.imageSource(ctx, o.Image)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	dir, base := o.Target, ""
	if dir == "" {
		dir = "."
	}
	if info, serr := os.Stat(dir); serr != nil || !info.IsDir() {
		dir, base = filepath.Split(dir)
		if dir == "" {
			dir = "."
		}
		if base == "" {
			return out, fail(fmt.Errorf("there is no directory %s", o.Target))
		}
	}
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

// report has the packing tell how far it is.
func (src *imageSource) report(progress func(Progress)) {
	if progress != nil {
		src.repack.Report = func(n int64) { progress(Progress{Name: "pack", Done: n}) }
	}
}

// ExportImageTo writes a unified image to a stream.
func (s *System) ExportImageTo(ctx context.Context, o ExportImageOptions, w io.Writer) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot export image %s: %w", o.Image, err) }
	src, err := s.imageSource(ctx, o.Image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	if src.repack != nil || len(src.parts) != 1 {
		return fail(withHint(errors.New("it is a split image, of two files"), "export it to a directory"))
	}
	sum := sha256.New()
	if err = src.parts[0].copyTo(ctx, io.MultiWriter(w, sum), o.Progress); err == nil {
		err = src.verify(sum)
	}
	if err != nil {
		err = fail(err)
	}
	return err
}

// imageSource is where the files of an image come from.
type imageSource struct {
	s           *System
	pool        *openedPool // nil of one that is not here
	rec         tree.ImageRecord
	fingerprint string
	parts       []imagePart
	// repack is set instead when nobody has the files.
	repack *images.Source
	unlock func()
}

// imagePart is one file of an image.
type imagePart struct {
	name string // of package tree
	size int64  // bytes; 0 = unknown
	open func(ctx context.Context) (io.ReadCloser, error)
}

func (src *imageSource) close() error {
	var errs []error
	if src.repack != nil {
		for _, f := range []*os.File{src.repack.Root, src.repack.Disk} {
			if f != nil {
				errs = append(errs, f.Close())
			}
		}
	}
	if src.unlock != nil {
		src.unlock()
	}
	if src.pool != nil {
		errs = append(errs, src.pool.close())
	}
	return errors.Join(errs...)
}

// imageSource finds [REMOTE:]IMAGE and where its files are. One in a pool is
// locked, so that nobody deletes it meanwhile.
func (s *System) imageSource(ctx context.Context, ref string) (*imageSource, error) {
	remote, name, err := s.splitRef(ref)
	if err == nil {
		err = checkImageNamed(name)
	}
	if err != nil {
		return nil, err
	}
	if remote == localRemote {
		return s.localSource(ctx, name)
	}
	c, _, err := s.client(remote)
	if err != nil {
		return nil, err
	}
	want, err := c.Find(ctx, name, remotes.Want{})
	if err != nil {
		return nil, err
	}
	src := &imageSource{s: s, fingerprint: want.Fingerprint}
	src.parts = remoteParts(c, want)
	return src, nil
}

func (s *System) localSource(ctx context.Context, ref string) (_ *imageSource, err error) {
	im, err := s.Image(ctx, ref)
	if err != nil {
		return nil, err
	}
	src := &imageSource{s: s, fingerprint: im.Fingerprint}
	defer func() {
		if err != nil {
			err = errors.Join(err, src.close())
		}
	}()
	if src.pool, err = s.openPool(ctx, im.Pool); err != nil {
		return nil, err
	}
	if src.unlock, err = s.dir.LockImage(ctx, im.Fingerprint); err != nil {
		return nil, err
	}
	if src.rec, err = src.pool.Image(im.Fingerprint); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound) // deleted while we waited
	}
	if err != nil {
		return nil, err
	}
	return src, src.find(ctx)
}

// find finds the parts: in the pool, then at the remote, and else what they can be
// made of.
func (src *imageSource) find(ctx context.Context) error {
	have, err := src.originals()
	if err != nil || complete(have) {
		src.parts = have
		return err
	}
	parts, why := src.fromRemote(ctx)
	if why == nil {
		for i, p := range parts { // those that are here need not be fetched
			if at := slices.IndexFunc(have, func(h imagePart) bool { return h.name == p.name && h.size == p.size }); at >= 0 {
				parts[i] = have[at]
			}
		}
		src.parts = parts
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	volume := src.pool.ImagePath(src.fingerprint)
	anew := &images.Source{}
	if anew.Metadata, err = images.ReadMetadata(volume); err != nil {
		return err
	}
	if anew.Templates, err = images.ReadTemplates(volume); err != nil {
		return err
	}
	if src.rec.Type == remotes.TypeVM {
		anew.Disk, err = os.OpenFile(filepath.Join(volume, images.DiskFile), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	} else {
		anew.Root, err = openPlainDir(filepath.Join(volume, "rootfs"))
	}
	if err != nil {
		return err
	}
	src.repack = anew
	src.s.noticef("image %s is packed anew, which gives it another fingerprint: the pool does not have its files, and %v", src.fingerprint[:12], why)
	return nil
}

// originals are the files that the pool has, in the order of the fingerprint.
func (src *imageSource) originals() ([]imagePart, error) {
	var out []imagePart
	for _, name := range []string{tree.OriginalUnified, tree.OriginalMetadata, tree.OriginalRootfs} {
		f, err := src.pool.OpenOriginal(src.fingerprint, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		out = append(out, imagePart{name: name, size: info.Size(), open: func(context.Context) (io.ReadCloser, error) {
			return src.pool.OpenOriginal(src.fingerprint, name)
		}})
	}
	return out, nil
}

// complete says whether the parts are a whole image.
func complete(parts []imagePart) bool {
	return len(parts) == 1 && parts[0].name == tree.OriginalUnified || len(parts) == 2 && parts[0].name == tree.OriginalMetadata
}

// fromRemote asks the remote that the image was pulled from.
func (src *imageSource) fromRemote(ctx context.Context) ([]imagePart, error) {
	if src.rec.Source == nil {
		return nil, errors.New("it was not pulled from a remote")
	}
	c, r, err := src.s.client(src.rec.Source.Remote)
	if err != nil {
		return nil, err
	}
	want, err := c.Find(ctx, src.fingerprint, remotes.Want{})
	if err != nil {
		return nil, fmt.Errorf("remote %s does not have it: %w", r.Name, err)
	}
	parts := remoteParts(c, want)
	if len(parts) == 0 || want.Fingerprint != src.fingerprint {
		return nil, fmt.Errorf("remote %s has it with other metadata", r.Name)
	}
	// What is gone, or away, is found out now, while there is another way.
	rc, err := parts[0].open(ctx)
	if err == nil {
		_, err = io.ReadFull(rc, make([]byte, 1))
		err = errors.Join(err, rc.Close())
	}
	return parts, err
}

// remoteParts are the files of an image of a remote.
func remoteParts(c *remotes.Client, want remotes.Image) []imagePart {
	roles := map[remotes.Role]string{
		remotes.RoleMetadata: tree.OriginalMetadata, remotes.RoleRootfs: tree.OriginalRootfs, remotes.RoleUnified: tree.OriginalUnified,
	}
	var out []imagePart
	for _, f := range want.Files {
		if name, ok := roles[f.Role]; ok {
			out = append(out, imagePart{name: name, size: f.Size, open: func(ctx context.Context) (io.ReadCloser, error) { return c.Open(ctx, f) }})
		}
	}
	return out
}

// copyTo copies a part.
func (p imagePart) copyTo(ctx context.Context, w io.Writer, progress func(Progress)) error {
	rc, err := p.open(ctx)
	if err != nil {
		return err
	}
	count := &counter{name: p.name, total: p.size, report: progress}
	_, err = io.Copy(io.MultiWriter(w, count), contextReader{ctx, rc})
	return errors.Join(err, rc.Close())
}

// verify compares the sum of all parts with the fingerprint.
func (src *imageSource) verify(sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != src.fingerprint {
		return &images.FingerprintError{Want: src.fingerprint, Got: got}
	}
	return nil
}

// packAnew packs the image as publish does.
func (src *imageSource) packAnew(ctx context.Context, create func(name string) (*os.File, error)) error {
	var how packing
	if src.repack.Disk == nil {
		if err := src.s.choosePacking(ctx, &how, src.repack.Root); err != nil {
			return err
		}
	}
	_, err := pack(ctx, src.repack, how, create)
	return err
}

// sumFiles is the fingerprint of written files.
func sumFiles(ctx context.Context, files []*hostFile) (string, error) {
	sum := sha256.New()
	for _, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
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
