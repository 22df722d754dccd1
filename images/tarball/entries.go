package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// addFile writes a regular file: content, then owner, mode (chown clears set-id
// bits), attributes (chown removes security.capability), time.
func (e *Extractor) addFile(hdr *tar.Header, parent int, name, base string, r io.Reader) (err error) {
	if err := e.budget.Take(hdr.Size); err != nil {
		return err
	}
	fd := -1
	err = e.place(parent, base, false, func() error {
		var oerr error
		fd, oerr = unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return oerr
	})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(fd); cerr != nil && err == nil {
			err = fmt.Errorf("cannot write it: %w", cerr)
		}
	}()
	if err := e.writeContent(fd, name, hdr.Size, r); err != nil {
		return err
	}
	if err := e.finishFile(hdr, fd); err != nil {
		return err
	}
	return restore.SetTime(parent, base, hdr.ModTime)
}

func (e *Extractor) finishFile(hdr *tar.Header, fd int) error {
	if e.policy.FilesOnly {
		return unix.Fchmod(fd, uint32(hdr.Mode)&0o755)
	}
	if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("cannot set its owner: %w", err)
	}
	if err := unix.Fchmod(fd, uint32(hdr.Mode)&0o7777); err != nil {
		return fmt.Errorf("cannot set its mode: %w", err)
	}
	list, err := entryXattrs(hdr)
	if err != nil {
		return err
	}
	return restore.SetXattrs(list, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) })
}

// writeContent copies size bytes. Blocks of zeros become holes; what the file of
// that name in the base has is shared with it.
func (e *Extractor) writeContent(fd int, name string, size int64, r io.Reader) error {
	old := e.policy.Base.Open(name, size)
	defer old.Close()
	var off int64
	var same restore.Runs
	hole := false
	for off < size {
		n, err := io.ReadFull(r, e.buf[:min(int64(len(e.buf)), size-off)])
		switch {
		case n == 0:
		case old.Has(e.buf[:n], off):
			same.Add(off, off+int64(n))
			hole = false
		default:
			if perr := e.policy.Pass.Before(n); perr != nil {
				return perr
			}
			var werr error
			if hole, werr = restore.WriteSparse(fd, e.buf[:n], off); werr != nil {
				return fmt.Errorf("cannot write it: %w", werr)
			}
		}
		off += int64(n)
		if err != nil && off < size {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("cannot read its content: %w", err)
		}
	}
	if hole {
		if err := unix.Ftruncate(fd, size); err != nil {
			return fmt.Errorf("cannot write it: %w", err)
		}
	}
	return old.Clone(fd, same)
}

// addLink makes a hard link; the target is looked up as strictly as the name.
// A link's own metadata is that of its target and is not set again (setting the
// owner anew would remove file capabilities).
func (e *Extractor) addLink(parent int, base, name, link string) error {
	if link == name {
		return e.exists(parent, base)
	}
	dir, target := split(link)
	from, err := e.targets.Open(dir, false)
	if err != nil {
		return fmt.Errorf("cannot link it to %q: %w", link, err)
	}
	if err := e.exists(from, target); err != nil { // before what has its name is removed
		return fmt.Errorf("cannot link it to %q: %w", link, err)
	}
	err = e.place(parent, base, false, func() error { return unix.Linkat(from, target, parent, base, 0) })
	if err != nil {
		return fmt.Errorf("cannot link it to %q: %w", link, err)
	}
	return nil
}

func (e *Extractor) exists(dir int, base string) error {
	var st unix.Stat_t
	return unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
}

// addSymlink makes a symbolic link; where it points is its own matter, since
// nothing here ever follows it.
func (e *Extractor) addSymlink(hdr *tar.Header, parent int, base string) error {
	err := e.place(parent, base, false, func() error { return unix.Symlinkat(hdr.Linkname, parent, base) })
	if err != nil {
		return err
	}
	return e.finishNode(hdr, parent, base)
}

// addNode makes a fifo or device node.
func (e *Extractor) addNode(hdr *tar.Header, parent int, base string) error {
	mode, dev := uint32(unix.S_IFIFO), 0
	if hdr.Typeflag != tar.TypeFifo {
		const maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1 // what mknod(2) can encode
		if hdr.Devmajor < 0 || hdr.Devmajor > maxMajor || hdr.Devminor < 0 || hdr.Devminor > maxMinor ||
			!restore.SafeDevice(hdr.Typeflag == tar.TypeChar, uint32(hdr.Devmajor), uint32(hdr.Devminor)) {
			e.LeftOut++
			return nil
		}
		mode, dev = unix.S_IFCHR, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))) // bounded above
	}
	err := e.place(parent, base, false, func() error { return unix.Mknodat(parent, base, mode|0o600, dev) })
	if err != nil {
		return err
	}
	return e.finishNode(hdr, parent, base)
}

// finishNode sets the metadata of what cannot or must not be opened.
func (e *Extractor) finishNode(hdr *tar.Header, parent int, base string) error {
	if err := unix.Fchownat(parent, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set its owner: %w", err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		// It was made by us just now and is no symbolic link, so this follows none.
		if err := unix.Fchmodat(parent, base, uint32(hdr.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("cannot set its mode: %w", err)
		}
	}
	list, err := entryXattrs(hdr)
	if err != nil {
		return err
	}
	// There is no setxattrat before Linux 6.13; the path goes through our own
	// descriptor and its last component is not followed.
	path := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	if err := restore.SetXattrs(list, func(name string, value []byte) error { return unix.Lsetxattr(path, name, value, 0) }); err != nil {
		return err
	}
	return restore.SetTime(parent, base, hdr.ModTime)
}
