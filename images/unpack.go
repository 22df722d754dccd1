package images

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/internal/restore"
	"poolctl/images/squashfs"
	"poolctl/images/tarball"
)

// Unpack verifies and unpacks an image into r.Dir, which then holds rootfs/,
// metadata.yaml and templates/; of a virtual machine's image root.img, a raw disk,
// in place of rootfs/. Reading, decompressing, hashing and writing go on
// at the same time. On an error the directory's content is undefined, and the
// caller is to remove it; no process and no temporary file is left.
//
// The fingerprint is the sha256 of the metadata file's bytes followed by the root
// file's, or of the unified file's: of all the bytes, also those behind the end of
// the archive (Incus, internal/server/util image fingerprint; simplestreams
// combined_*_sha256). A wrong one is a *FingerprintError.
//
// Policy: from the metadata only metadata.yaml and templates/ are taken, as plain
// files of root's; of the root all is kept as it is packed, except the contents of
// /dev in archives (LXD's and Incus's rule) and device nodes that would reach the
// host (internal/restore.SafeDevice).
func Unpack(ctx context.Context, r Request) (Result, error) {
	u, err := newUnpacker(r)
	if err != nil {
		return Result{}, err
	}
	defer u.close()
	if r.Unified != nil {
		u.openBase(nil)
		err = u.part(ctx, r.Unified, u.unified)
	} else {
		err = u.split(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	if err := u.verify(); err != nil {
		return Result{}, err
	}
	return u.finish()
}

// split unpacks the two parts; metadata that is no good ends it before the large
// part is fetched.
func (u *unpacker) split(ctx context.Context) error {
	if err := u.part(ctx, u.req.Metadata, u.metadata); err != nil {
		return err
	}
	m, err := readMetadataAt(u.dir)
	if err != nil {
		return err
	}
	u.openBase(m)
	return u.part(ctx, u.req.Rootfs, u.root)
}

// unpacker is one run of Unpack.
type unpacker struct {
	req    Request
	dir    *os.File
	rootfs *os.File
	hash   hash.Hash
	size   int64
	left   int
	dev    int // entries of /dev in an archive
	// virtual is the size of a virtual machine's disk, in bytes.
	virtual int64

	old  *os.File // the root directory of the base
	base *restore.Base
}

func newUnpacker(r Request) (*unpacker, error) {
	split := r.Metadata != nil && r.Rootfs != nil
	if split == (r.Unified != nil) || !split && (r.Metadata != nil || r.Rootfs != nil) {
		return nil, errors.New("cannot unpack image: either a metadata and a root file or one unified file is needed")
	}
	if r.TempDir == "" {
		r.TempDir = r.Dir
	}
	r.Limits = r.Limits.withDefaults()
	dir, err := os.OpenFile(r.Dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack image: %w", err)
	}
	u := &unpacker{req: r, dir: dir, hash: sha256.New()}
	if u.rootfs, err = makeRootfs(dir); err != nil {
		u.close()
		return nil, fmt.Errorf("cannot unpack image: %w", err)
	}
	return u, nil
}

// makeRootfs makes rootfs/ as a root directory usually is, should the image say
// nothing of it, and opens it.
func makeRootfs(dir *os.File) (*os.File, error) {
	if names, err := dir.Readdirnames(1); len(names) > 0 || !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("%s is not an empty directory", dir.Name()), notEOF(err))
	}
	if err := unix.Mkdirat(int(dir.Fd()), rootfsDir, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdirat", Path: dir.Name() + "/" + rootfsDir, Err: err}
	}
	fd, err := unix.Openat(int(dir.Fd()), rootfsDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: dir.Name() + "/" + rootfsDir, Err: err}
	}
	if err := unix.Fchmod(fd, 0o755); err != nil { // whatever the umask is
		return nil, errors.Join(&os.PathError{Op: "fchmod", Path: dir.Name() + "/" + rootfsDir, Err: err}, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+rootfsDir), nil
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (u *unpacker) close() {
	_ = u.dir.Close() // opened for reading
	if u.rootfs != nil {
		_ = u.rootfs.Close()
	}
	if u.old != nil {
		_ = u.old.Close()
	}
}

// openBase opens the root of the image that this one is near to.
func (u *unpacker) openBase(m *Metadata) {
	if u.req.Base == nil {
		return
	}
	dir := u.req.Base(m)
	if dir == "" {
		return
	}
	old, err := os.OpenFile(filepath.Join(dir, rootfsDir), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return // it was deleted, say: then nothing is shared
	}
	u.old, u.base = old, restore.NewBase(old)
}

// part streams one part through unpack, to the very end of it.
func (u *unpacker) part(ctx context.Context, p *Part, unpack func(context.Context, *source, *bufio.Reader) error) (err error) {
	src, err := openSource(ctx, p, u.hash, u.req.Progress)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := src.close(); cerr != nil && err == nil && ctx.Err() == nil {
			err = fmt.Errorf("cannot read %s: %w", p.Name, cerr)
		}
	}()
	r := bufio.NewReaderSize(src, 64<<10)
	err = unpack(ctx, src, r)
	if err == nil && u.req.Strict && (u.virtual == 0 || p == u.req.Unified) { // a qcow2 has no end: any cluster may be unused
		_, err = restore.ReadPadding(ctx, r, true)
	}
	if err == nil {
		err = src.drain()
	} else if damaged(err) && src.drain() == nil && p != u.req.Metadata {
		// That the wrong file came says more than what is wrong in it; where the part cannot tell, the whole does.
		err = errors.Join(u.verify(), err)
	}
	if cause := src.failure(); cause != nil { // rather than what came of it
		err = cause
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot unpack %s: %w", p.Name, err)
	}
	u.size += src.n
	return nil
}

// verify compares the fingerprint of what has been read.
func (u *unpacker) verify() error {
	got := hex.EncodeToString(u.hash.Sum(nil))
	if want := u.req.Fingerprint; want != "" && want != got {
		return &FingerprintError{Want: want, Got: got}
	}
	return nil
}

func (u *unpacker) finish() (Result, error) {
	m, err := readMetadataAt(u.dir)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Fingerprint: hex.EncodeToString(u.hash.Sum(nil)), Size: u.size,
		Metadata: m, DevicesLeftOut: u.left, DevSkipped: u.dev, VirtualSize: u.virtual, Shared: u.base.Shared(),
	}, nil
}

// metadata unpacks the metadata archive of a split image.
func (u *unpacker) metadata(ctx context.Context, _ *source, r *bufio.Reader) error {
	ex := u.metadataExtractor()
	return u.archive(ctx, r, u.req.Limits.metadataBudget(), func(name string) (*tarball.Extractor, string, error) {
		if isMetadata(name) {
			return ex, name, nil
		}
		return nil, "", nil // anything else has no place in an image: backup.yaml, say
	}, ex)
}

// unified unpacks an archive that holds both: a root in rootfs/, or the disk of a
// virtual machine in rootfs.img.
func (u *unpacker) unified(ctx context.Context, _ *source, r *bufio.Reader) error {
	budget := u.req.Limits.rootBudget()
	meta, root, disk := u.metadataExtractor(), tarball.New(u.rootfs, u.rootPolicy(), budget), u.diskExtractor(budget)
	err := u.archive(ctx, r, budget, func(name string) (*tarball.Extractor, string, error) {
		if name == rootfsDir {
			return root, ".", nil
		}
		if rel, ok := cutDir(name, rootfsDir); ok {
			return root, rel, nil
		}
		if name == packedDisk {
			return disk, name, nil
		}
		if isMetadata(name) {
			return meta, name, nil
		}
		return nil, "", nil
	}, meta, root, disk)
	switch {
	case err != nil:
		return err
	case disk.Added == 0 && u.req.Type == TypeVM:
		return errors.New("there is no disk in the image")
	case disk.Added == 0:
		return notEmpty(nil, root)
	case root.Added > 0:
		return errors.New("there are a root file system and a disk in the image")
	case u.req.Type == TypeContainer:
		return &compress.UnsupportedError{Format: compress.QCOW2}
	}
	return u.packedDisk(ctx)
}

// notEmpty refuses an archive without a root: it is not that of a container.
func notEmpty(err error, root *tarball.Extractor) error {
	if err == nil && root.Added == 0 {
		return errors.New("there is no root file system in the image")
	}
	return nil
}

// root unpacks the root file of a split image: a squashfs, an archive, or the disk
// of a virtual machine.
func (u *unpacker) root(ctx context.Context, src *source, r *bufio.Reader) error {
	head, err := peek(r)
	if err != nil {
		return err
	}
	format := compress.Detect(head)
	if err := u.checkType(format); err != nil {
		return err
	}
	if format == compress.QCOW2 {
		return u.disk(ctx, src, r)
	}
	if format != compress.Squashfs {
		budget := u.req.Limits.rootBudget()
		ex := tarball.New(u.rootfs, u.rootPolicy(), budget)
		all := func(name string) (*tarball.Extractor, string, error) { return ex, name, nil }
		err := u.archive(ctx, r, budget, all, ex)
		return errors.Join(err, notEmpty(err, ex))
	}
	z := &squashfs.Unpacker{
		TempDir: u.req.TempDir,
		Base:    u.base,
		Pass:    u.req.Pass,
		Vouched: u.req.Fingerprint != "" && !u.req.Strict,
		Limits:  squashfs.Limits{Entries: u.req.Limits.Entries, Bytes: u.req.Limits.Bytes, PathLen: u.req.Limits.PathLen, Depth: u.req.Limits.Depth},
	}
	res, err := z.Unpack(ctx, r, src, u.rootfs)
	u.left += res.DevicesLeftOut
	return err
}

// damaged says whether an error of unpacking is about the file, and not one of a
// system call or a limit.
func damaged(err error) bool {
	var errno unix.Errno
	var limit *tarball.LimitError // squashfs's as well
	return !errors.As(err, &errno) && !errors.As(err, &limit)
}

// archive decompresses r and extracts it.
func (u *unpacker) archive(ctx context.Context, r *bufio.Reader, budget *tarball.Budget, route tarball.Router, exs ...*tarball.Extractor) (err error) {
	defer func() {
		for _, ex := range exs {
			ex.Close()
			u.left += ex.LeftOut
			u.dev += ex.Skipped
		}
	}()
	head, err := peek(r)
	if err != nil {
		return err
	}
	format := compress.Detect(head)
	if format == compress.Squashfs {
		return &compress.UnsupportedError{Format: "squashfs in place of a tar archive"}
	}
	plain, err := compress.NewReader(ctx, format, r)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := plain.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}()
	if err := tarball.Extract(ctx, plain, budget, route, u.req.Strict); err != nil {
		return err
	}
	for _, ex := range exs {
		if err := ex.Finish(); err != nil {
			return err
		}
	}
	return nil
}

// peek looks at the beginning of a part.
func peek(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(compress.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head, nil
}
