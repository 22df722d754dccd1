package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// Writer writes trees into an archive (PAX), so that an Extractor, GNU tar, LXD
// and Incus make the same of them again: owners as numbers, modes, times,
// extended attributes with file capabilities and POSIX ACLs, hard links, symbolic
// links, fifos and devices. Sockets are left out, as they mean nothing without
// the process that listens. What other file systems are mounted in a tree is
// written too; subvolumes become directories. It is not safe for concurrent use.
type Writer struct {
	tar *tar.Writer
	// Written counts the bytes of file content.
	Written int64
	// Report, if not nil, is told of Written as it grows.
	Report func(written int64)
}

// NewWriter writes an archive to w. Close ends it.
func NewWriter(w io.Writer) *Writer { return &Writer{tar: tar.NewWriter(w)} }

// Close writes the end of the archive.
func (w *Writer) Close() error { return w.tar.Close() }

// AddFile writes a regular file of root's with that content.
func (w *Writer) AddFile(name string, data []byte, mtime time.Time) error {
	return w.AddStream(name, int64(len(data)), mtime, func(to io.Writer) error {
		_, err := to.Write(data)
		return err
	})
}

// AddPublic writes a regular file of root's that everybody may read.
func (w *Writer) AddPublic(name string, data []byte, mtime time.Time) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: mtime, Format: tar.FormatPAX}
	return w.addHeader(hdr, func(to io.Writer) error {
		_, err := to.Write(data)
		return err
	})
}

// AddDirectory writes a directory of root's that everybody may enter.
func (w *Writer) AddDirectory(name string, mtime time.Time) error {
	hdr := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: mtime, Format: tar.FormatPAX}
	return w.addHeader(hdr, func(io.Writer) error { return nil })
}

// AddStream writes a regular file of root's of exactly size bytes, which write
// writes.
func (w *Writer) AddStream(name string, size int64, mtime time.Time, write func(io.Writer) error) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, ModTime: mtime, Format: tar.FormatPAX}
	return w.addHeader(hdr, write)
}

// addHeader writes an entry with what write writes.
func (w *Writer) addHeader(hdr *tar.Header, write func(io.Writer) error) error {
	err := w.tar.WriteHeader(hdr)
	if err == nil {
		err = write(countWriter{w})
	}
	if err == nil {
		err = w.tar.Flush() // fails when bytes are missing
	}
	if err != nil {
		return packError(hdr.Name, err)
	}
	return nil
}

// countWriter counts what goes into the archive.
type countWriter struct{ w *Writer }

func (c countWriter) Write(b []byte) (int, error) {
	n, err := c.w.tar.Write(b)
	c.w.Written += int64(n)
	if c.w.Report != nil {
		c.w.Report(c.w.Written)
	}
	return n, err
}

// treeWriter is one tree on its way into the archive.
type treeWriter struct {
	*Writer
	ctx   context.Context //nolint:containedctx // of one call of AddTree
	links map[[2]uint64]string
	buf   []byte
}

// AddTree writes the directory root, as name, with all that is below it. No
// symbolic link is followed. Nothing may change in it meanwhile.
func (w *Writer) AddTree(ctx context.Context, root *os.File, name string) error {
	t := &treeWriter{Writer: w, ctx: ctx, links: map[[2]uint64]string{}, buf: make([]byte, 256<<10)}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return packError(name, err)
	}
	list, err := listXattrs(fmt.Sprintf("/proc/self/fd/%d", root.Fd()), true)
	if err == nil {
		err = t.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/"}, st, list)
	}
	if err != nil {
		return packError(name, err)
	}
	return t.addDir(int(root.Fd()), name)
}

// addDir writes what is in a directory, sorted by name.
func (t *treeWriter) addDir(dir int, path string) error {
	names, err := dirNames(dir)
	if err != nil {
		return packError(path, err)
	}
	for _, name := range names {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if err := t.add(dir, name, path+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// dirNames lists a directory through a descriptor of its own.
func dirNames(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), ".")
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, errors.Join(err, f.Close())
}

// add writes one entry, and below it when it is a directory.
func (t *treeWriter) add(dir int, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return packError(path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFSOCK {
		return nil
	}
	if kind == unix.S_IFDIR {
		return t.addSubdir(dir, name, path)
	}
	if st.Nlink > 1 {
		key := [2]uint64{st.Dev, st.Ino}
		if first, again := t.links[key]; again {
			return packed(path, t.header(&tar.Header{Typeflag: tar.TypeLink, Name: path, Linkname: first}, st, nil))
		}
		t.links[key] = path
	}
	if kind == unix.S_IFREG {
		return packed(path, t.addRegular(dir, name, path))
	}
	hdr := &tar.Header{Name: path}
	switch kind {
	case unix.S_IFLNK:
		target, err := readlink(dir, name)
		if err != nil {
			return packError(path, err)
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if kind == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	// The path goes through our own descriptor and its last component is not followed.
	list, err := listXattrs(fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), false)
	if err == nil {
		err = t.header(hdr, st, list)
	}
	return packed(path, err)
}

// packed is packError, and nil for nil.
func packed(path string, err error) error {
	if err == nil {
		return nil
	}
	return packError(path, err)
}

// packError names the entry that an error is about.
func packError(name string, err error) error { return fmt.Errorf("cannot pack %.256q: %w", name, err) }

func (t *treeWriter) addSubdir(dir int, name, path string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return packError(path, err)
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	var list []restore.Xattr
	if err == nil {
		list, err = listXattrs(fmt.Sprintf("/proc/self/fd/%d", fd), true)
	}
	if err == nil {
		err = t.header(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/"}, st, list)
	}
	if err = packed(path, err); err == nil {
		err = t.addDir(fd, path)
	}
	return errors.Join(err, f.Close())
}

func (t *treeWriter) addRegular(dir int, name, path string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOATIME, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	var list []restore.Xattr
	if err == nil {
		list, err = listXattrs(fmt.Sprintf("/proc/self/fd/%d", fd), true)
	}
	if err == nil {
		err = t.header(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: st.Size}, st, list)
	}
	if err == nil {
		// Holes are read as zeros, which an Extractor makes holes again.
		_, err = io.CopyBuffer(onlyWriter{countWriter{t.Writer}}, ctxReader{t.ctx, io.LimitReader(f, st.Size)}, t.buf)
	}
	if err == nil {
		err = t.tar.Flush()
	}
	return errors.Join(err, f.Close())
}

// onlyWriter hides other methods from io.CopyBuffer.
type onlyWriter struct{ io.Writer }

// header writes a header with the metadata of st.
func (t *treeWriter) header(hdr *tar.Header, st unix.Stat_t, list []restore.Xattr) error {
	hdr.Mode = int64(st.Mode & 0o7777)
	hdr.Uid, hdr.Gid = int(st.Uid), int(st.Gid)
	hdr.ModTime = time.Unix(st.Mtim.Unix())
	hdr.Format = tar.FormatPAX
	if len(list) > 0 {
		hdr.PAXRecords = map[string]string{}
		for _, x := range list {
			hdr.PAXRecords[schilyKey(x.Name)] = string(x.Value)
		}
	}
	return t.tar.WriteHeader(hdr)
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// maxXattrs bounds the names and each value, in bytes: what the kernel allows
// (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const maxXattrs = 64 << 10

// listXattrs reads the extended attributes of a file; with follow, path is a
// link of /proc/self/fd.
func listXattrs(path string, follow bool) ([]restore.Xattr, error) {
	list, get := unix.Llistxattr, unix.Lgetxattr
	if follow {
		list, get = unix.Listxattr, unix.Getxattr
	}
	buf := make([]byte, maxXattrs)
	n, err := list(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot list its extended attributes: %w", err)
	}
	var out []restore.Xattr
	for _, name := range splitNUL(buf[:n]) {
		if !knownNamespace(name) {
			continue
		}
		value := make([]byte, maxXattrs)
		n, err := get(path, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("cannot read its extended attribute %q: %w", name, err)
		}
		out = append(out, restore.Xattr{Name: name, Value: value[:n]})
	}
	return out, nil
}

func splitNUL(b []byte) []string {
	var out []string
	start := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[start:i]))
			start = i + 1
		}
	}
	return out
}
