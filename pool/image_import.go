package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"poolctl/images"
	"poolctl/images/compress"
	"poolctl/pool/crash"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// maxImageFile is the most that is read of an image file whose size is not known, in
// bytes: what images.Limits lets a squashfs or a qcow2 be.
const maxImageFile = 32 << 30

// ImportImageOptions are the arguments of ImportImage.
type ImportImageOptions struct {
	NewImageOptions
	// Files are one or two, each a path, an https URL, or "-" for Stdin: the
	// metadata and the root file of a split image, in any order; a unified one; or a
	// directory, with such files, or with metadata.yaml, templates/ and rootfs/ in it.
	Files []string
	Stdin io.Reader
}

// ImportImage makes an image of files that somebody made: archives in any
// compression, squashfs in all of its own. The pool keeps them as they are, for
// ExportImage, until the image is deleted. The fingerprint is the SHA-256 over the
// metadata file and the root file in a row, or over the unified file. A directory
// with a root in it is packed first, as incus does it, into a .tar.xz.
func (s *System) ImportImage(ctx context.Context, o ImportImageOptions) (Image, error) {
	what := strings.Join(o.Files, " ")
	fail := func(err error) (Image, error) {
		return Image{}, fmt.Errorf("cannot import %s: %w", what, hintRawDisk(err, len(o.Files)))
	}
	files, err := importFiles(o.Files)
	if err != nil {
		return fail(err)
	}
	p, err := s.openTarget(ctx, o.Pool)
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = p.close() }()
	if err := o.check(p.Tree); err != nil {
		return fail(err)
	}
	im := &imageImport{s: s, p: p, o: o, files: files}
	rec, err := im.run(ctx)
	if err != nil {
		return fail(s.hintFull(p.rec, err))
	}
	return publicImage(rec, p.rec.Name), nil
}

// hintRawDisk says what to do with a raw disk, which has no mark of its own but that of a boot sector.
func hintRawDisk(err error, files int) error {
	bad, ok := errors.AsType[*compress.UnsupportedError](err)
	switch {
	case ok && bad.Format == compress.RawDisk:
		return withHint(err, "qemu-img convert -O qcow2 DISK disk.qcow2 makes one that can be imported, with a metadata file")
	case ok && bad.Format == compress.Unknown && files == 2:
		return withHint(err, "if it is the raw disk of a virtual machine: qemu-img convert -O qcow2 DISK disk.qcow2 makes one that can be imported")
	}
	return err
}

// importFiles says what to import: files, or one directory that is to be packed.
func importFiles(files []string) ([]string, error) {
	if len(files) < 1 || len(files) > 2 {
		return nil, errors.New("one or two files are needed")
	}
	for _, f := range files {
		if strings.HasPrefix(f, "http://") {
			return nil, withHint(fmt.Errorf("%s: only https is allowed", f), "download it by other means, and import the file")
		}
	}
	if isURL(files[0]) || files[0] == "-" {
		return files, nil
	}
	info, err := os.Stat(files[0])
	if err != nil || !info.IsDir() {
		return files, statError(err)
	}
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is a directory: it is imported alone", files[0])
	}
	if _, err := os.Lstat(filepath.Join(files[0], "metadata.yaml")); err == nil {
		return files, nil
	}
	return filesIn(files[0])
}

func isURL(file string) bool { return strings.HasPrefix(file, "https://") }

// filesIn finds the image's files in a directory of them, such as one of a server
// or of an export: one with the root, and one with the metadata, of which incus's
// comes before LXD's; or one that is unified.
func filesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, statError(err)
	}
	var meta, root []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch name := e.Name(); {
		case !e.Type().IsRegular():
		case name == "incus.tar.xz" || name == "lxd.tar.xz" || strings.HasPrefix(name, "meta"):
			meta = append(meta, path)
		case strings.Contains(name, ".tar") || strings.HasSuffix(name, ".squashfs") || strings.HasSuffix(name, ".qcow2") || strings.HasSuffix(name, ".img") || strings.HasSuffix(name, ".root"):
			root = append(root, path)
		}
	}
	if len(meta) == 2 && filepath.Base(meta[0]) == "incus.tar.xz" && filepath.Base(meta[1]) == "lxd.tar.xz" {
		meta = meta[:1]
	}
	if len(meta) > 1 || len(root) != 1 {
		return nil, withHint(fmt.Errorf("there is neither metadata.yaml in it, nor the files of just one image (found: %q)", append(meta, root...)), "name the two files, or the unified one")
	}
	return append(meta, root...), nil
}

// imageImport is an import on its way.
type imageImport struct {
	s     *System
	p     *openedPool
	o     ImportImageOptions
	files []string
	stage *tree.Stage
	watch *spaceWatch
	want  string // the fingerprint that a server gave
}

func (im *imageImport) run(ctx context.Context) (rec tree.ImageRecord, err error) {
	if im.stage, err = im.p.StageImage(ctx); err != nil {
		return rec, err
	}
	im.watch = im.s.watchSpace(ctx, im.p.rec, "the image")
	defer func() {
		im.watch.stop()
		if err != nil {
			err = errors.Join(im.watch.cause(err), im.stage.Abort(), im.s.awaitFreed(im.p.rec))
		}
	}()
	ctx = im.watch.ctx
	names := []string{tree.OriginalUnified}
	if len(im.files) == 2 {
		names = []string{tree.OriginalMetadata, tree.OriginalRootfs}
	}
	for i, f := range im.files {
		if err := im.fetch(ctx, f, names[i]); err != nil {
			return rec, err
		}
		crash.Point("pool.import.fetched")
	}
	if len(im.files) == 2 {
		err = im.order(ctx)
	} else {
		err = im.checkUnified()
	}
	if err != nil {
		return rec, err
	}
	o := im.o.NewImageOptions
	o.unvouched = im.want == ""
	if rec, err = im.s.commitOriginals(ctx, im.p, im.stage, im.watch, names, im.want, o); err != nil {
		return rec, err
	}
	return rec, im.stage.Abort() // of an image that was there already
}

// order exchanges the files when they were named in the other order: the one that
// has metadata.yaml comes first.
func (im *imageImport) order(ctx context.Context) error {
	first, err := im.hasMetadata(ctx, tree.OriginalMetadata)
	if err != nil || first {
		return err
	}
	second, err := im.hasMetadata(ctx, tree.OriginalRootfs)
	if err != nil {
		return err
	}
	if !second {
		return errors.New("there is no metadata.yaml in either file")
	}
	return im.stage.ExchangeOriginals(tree.OriginalMetadata, tree.OriginalRootfs)
}

func (im *imageImport) hasMetadata(ctx context.Context, name string) (bool, error) {
	f, err := im.stage.OpenOriginal(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	return images.HasMetadata(ctx, f)
}

// checkUnified says of a file that is alone what it lacks, where that can be told
// by its format.
func (im *imageImport) checkUnified() error {
	f, err := im.stage.OpenOriginal(tree.OriginalUnified)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading
	format, err := images.FormatOf(f)
	if err == nil && (format == compress.Squashfs || format == "qcow2") {
		err = withHint(fmt.Errorf("it is a %s: a root without its metadata", format), "poolctl image import METADATA ROOT")
	}
	return err
}

// fetch brings one file into the stage.
func (im *imageImport) fetch(ctx context.Context, file, name string) error {
	if info, err := os.Stat(file); len(im.files) == 1 && !isURL(file) && err == nil && info.IsDir() {
		return im.packDir(ctx, file)
	}
	src, size, err := im.open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // read to its end, or given up
	if size >= 0 {
		need := spaceNeed{what: "the image", least: 2 * size, most: size + unpackedSize(size)}
		if name == tree.OriginalMetadata {
			need.most = need.least
		}
		if err := im.s.needSpace(ctx, im.p.rec, need); err != nil {
			return err
		}
	}
	to, err := im.stage.Original(name)
	if err != nil {
		return err
	}
	in := im.reader(ctx, src, baseName(file), size)
	if size < 0 {
		in = &limitedReader{in, maxImageFile}
	}
	_, err = io.Copy(im.watch.writer(to), in)
	return errors.Join(err, to.Close())
}

// baseName is what a file is called to the user.
func baseName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return path.Base(file)
}

// reader reports how far the reading is, and ends with the context.
func (im *imageImport) reader(ctx context.Context, src io.Reader, name string, size int64) io.Reader {
	c := &counter{name: name, total: max(size, 0), report: im.o.progress}
	return contextReader{ctx, io.TeeReader(src, c)}
}

// open opens a file, wherever it is; size is -1 when it is not known.
func (im *imageImport) open(ctx context.Context, file string) (r io.ReadCloser, size int64, err error) {
	switch {
	case file == "-":
		if im.o.Stdin == nil {
			return nil, 0, errors.New("there is no standard input")
		}
		return io.NopCloser(interruptibleReader(ctx, im.o.Stdin)), -1, nil
	case !isURL(file):
		f, size, err := openImageFile(ctx, file)
		if err != nil {
			return nil, 0, err
		}
		return openedFile{interruptibleReader(ctx, f), f}, size, nil
	}
	d, err := remotes.OpenDirect(ctx, file, remotes.RunnableArchs(), remotes.Options{UserAgent: "poolctl/" + im.s.version})
	if err != nil {
		return nil, 0, err
	}
	if len(im.files) == 1 {
		im.want = d.Fingerprint
	}
	return d.Body, d.Size, nil
}

// openedFile is a file that is read in another way than by itself.
type openedFile struct {
	io.Reader
	io.Closer
}

// openImageFile is openRegular, without what is no file at all: a device has no end.
func openImageFile(ctx context.Context, file string) (*os.File, int64, error) {
	if info, err := os.Stat(file); err == nil && info.Mode()&fs.ModeDevice != 0 {
		return nil, 0, withHint(fmt.Errorf("%s is a device, and no image file", file), "- reads standard input")
	}
	return openRegular(ctx, file)
}

// limitedReader fails once more than the limit was read of what has no known size.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("it is larger than %s, the most that an image file may be", FormatSize(maxImageFile))
	}
	return n, err
}

// packDir packs a directory with metadata.yaml, templates/ and rootfs/.
func (im *imageImport) packDir(ctx context.Context, dir string) (err error) {
	m, err := images.ReadMetadata(dir)
	if err != nil {
		return err
	}
	src := &images.Source{Metadata: m, Report: func(n int64) { im.o.progress(Progress{Name: "pack", Done: n}) }}
	if src.Templates, err = images.ReadTemplates(dir); err != nil {
		return err
	}
	if src.Root, err = openPlainDir(filepath.Join(dir, "rootfs")); err != nil {
		return err
	}
	defer func() { _ = src.Root.Close() }() // opened for reading
	to, err := im.stage.Original(tree.OriginalUnified)
	if err != nil {
		return err
	}
	return errors.Join(src.PackUnified(ctx, compress.Method{Format: compress.XZ}, to), to.Close())
}
