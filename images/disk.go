package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/qcow2"
	"poolctl/images/tarball"
)

// DiskFile is the raw disk of a virtual machine's image, beside its metadata.yaml,
// as LXD and Incus lay it out on btrfs.
const DiskFile = "root.img"

// packedDisk is the name of the qcow2 in a unified image (LXD, lxd/storage
// ImageUnpack; Incus likewise).
const packedDisk = "rootfs.img"

// Types of images (LXD's and Incus's names).
const (
	TypeContainer = "container"
	TypeVM        = "virtual-machine"
)

// checkType refuses a disk where a container is wanted, and the other way round.
func (u *unpacker) checkType(format compress.Format) error {
	isDisk := format == compress.QCOW2
	switch {
	case isDisk && u.req.Type == TypeContainer:
		return &compress.UnsupportedError{Format: format}
	case !isDisk && u.req.Type == TypeVM:
		return errors.New("it is no qcow2 disk image, as that of a virtual machine has to be")
	}
	return nil
}

// disk unpacks the root file of a virtual machine's image.
func (u *unpacker) disk(ctx context.Context, src *source, r *bufio.Reader) (err error) {
	if err := unix.Unlinkat(int(u.dir.Fd()), rootfsDir, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: u.dir.Name() + "/" + rootfsDir, Err: err}
	}
	path := u.dir.Name() + "/" + DiskFile
	fd, err := unix.Openat(int(u.dir.Fd()), DiskFile, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "openat", Path: path, Err: err}
	}
	out := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := qcow2.NoCow(out); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c := qcow2.Converter{TempDir: u.req.TempDir, Pass: u.req.Pass, Limits: qcow2.Limits{VirtualSize: u.req.Limits.DiskBytes, Bytes: u.req.Limits.Bytes}}
	u.virtual, err = c.Convert(ctx, r, src, out)
	return err
}

// packedDisk converts the disk that a unified archive held, and removes it.
func (u *unpacker) packedDisk(ctx context.Context) error {
	fd, err := unix.Openat(int(u.dir.Fd()), packedDisk, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: u.dir.Name() + "/" + packedDisk, Err: err}
	}
	f := os.NewFile(uintptr(fd), packedDisk)
	defer func() { _ = f.Close() }()                                      // read only
	if err := unix.Unlinkat(int(u.dir.Fd()), packedDisk, 0); err != nil { // it lasts until it is closed
		return &os.PathError{Op: "unlink", Path: u.dir.Name() + "/" + packedDisk, Err: err}
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is not a plain file", packedDisk), err)
	}
	r := bufio.NewReaderSize(f, 64<<10)
	head, err := peek(r)
	if err != nil {
		return err
	}
	if format := compress.Detect(head); format != compress.QCOW2 {
		return fmt.Errorf("%s: it is no qcow2 disk image", packedDisk)
	}
	if err := u.disk(ctx, &source{ctx: ctx, rc: f}, r); err != nil {
		return fmt.Errorf("%s: %w", packedDisk, err)
	}
	return nil
}

// diskExtractor takes a unified image's disk, a plain file.
func (u *unpacker) diskExtractor(b *tarball.Budget) *tarball.Extractor {
	return tarball.New(u.dir, tarball.Policy{FilesOnly: true, Pass: u.req.Pass}, b)
}
