package restore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// minShared is the size in bytes from which on a file is looked for in a base. What is smaller takes no block of its
	// own: btrfs keeps it in its metadata (max_inline), and copies it there when it is cloned.
	minShared = 2049
	// maxRefusals is how often cloning may fail before a base is given up.
	maxRefusals = 8
	// firstLook is how much of a range is compared first: most that differ differ there.
	firstLook = 4 << 10
	compareBy = 64 << 10
)

// Base is the tree of an older version of what is being written, on the same file
// system. Where a file of the same name has the same bytes at the same place,
// the new file shares them (FICLONERANGE, ioctl_ficlonerange(2)) and they are not
// written again. Only the bytes count, never times or sizes, and only they are
// shared: owner, mode, attributes and time are each file's own.
//
// The tree must not change while it is used: what was compared is cloned later.
// It is used by several goroutines. A nil *Base is that of no tree.
type Base struct {
	root     *os.File
	buffers  sync.Pool
	refusals atomic.Int32
	shared   atomic.Int64
}

// NewBase makes a base of an open directory, which must stay open.
func NewBase(root *os.File) *Base {
	return &Base{root: root, buffers: sync.Pool{New: func() any { b := make([]byte, compareBy); return &b }}}
}

// Shared is how many bytes were cloned so far.
func (b *Base) Shared() int64 {
	if b == nil {
		return 0
	}
	return b.shared.Load()
}

// Old is a regular file of a base. A nil *Old has nothing.
type Old struct {
	base *Base
	fd   int
	size int64
	unit int64 // of the file system: what is cloned begins at a multiple of it, and ends at one or with the file
}

// Open opens the file of that clean name for a new one of size bytes. It is nil
// where there is none, or none worth looking at: that a file cannot be reused is no
// error.
func (b *Base) Open(path string, size int64) *Old {
	if b == nil || size < minShared || b.refusals.Load() > maxRefusals {
		return nil
	}
	// What it is has to be known before it is opened: a fifo would wait, a device do who knows what.
	place, err := unix.Openat2(int(b.root.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(place) }() // an O_PATH descriptor has nothing to lose
	var st unix.Stat_t
	if unix.Fstat(place, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size < minShared {
		return nil
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &Old{base: b, fd: fd, size: st.Size, unit: max(int64(st.Blksize), 512)} //nolint:unconvert // it is an int32 on arm64
}

// Close closes the file.
func (o *Old) Close() {
	if o != nil {
		_ = unix.Close(o.fd) // it was only read
	}
}

// Has says whether the file has exactly these bytes at an offset.
func (o *Old) Has(p []byte, off int64) bool {
	if o == nil || len(p) == 0 || off > o.size-int64(len(p)) {
		return false
	}
	buf, _ := o.base.buffers.Get().(*[]byte)
	defer o.base.buffers.Put(buf)
	for look := firstLook; len(p) > 0; look = compareBy {
		part := (*buf)[:min(look, len(p))]
		if preadFull(o.fd, part, off) != nil || !bytes.Equal(part, p[:len(part)]) {
			return false
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return true
}

// errShrunk says that a file ended early.
var errShrunk = errors.New("the file that it is cloned from became shorter")

// preadFull fills p from an offset.
func preadFull(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(fd, p, off)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return errShrunk
		default:
			p, off = p[n:], off+int64(n)
		}
	}
	return nil
}

// Clone has the new file, open for writing, share these ranges, which the old one
// has. What the file system does not let it share is copied: blocks of which only a
// part is the same, files of other settings (nodatacow), a tree on another file
// system.
func (o *Old) Clone(fd int, runs Runs) error {
	for _, r := range runs {
		begin := (r.off + o.unit - 1) / o.unit * o.unit
		end := r.end
		if end != o.size {
			end = end / o.unit * o.unit
		}
		if begin >= end {
			begin, end = r.end, r.end
		} else if !o.share(fd, begin, end) {
			begin, end = r.end, r.end
		}
		if err := errors.Join(o.copy(fd, r.off, begin), o.copy(fd, end, r.end)); err != nil {
			return fmt.Errorf("cannot write it: %w", err)
		}
	}
	return nil
}

// share clones one range, or says that it cannot.
func (o *Old) share(fd int, begin, end int64) bool {
	err := unix.IoctlFileCloneRange(fd, &unix.FileCloneRange{
		Src_fd: int64(o.fd), Src_offset: uint64(begin), Src_length: uint64(end - begin), Dest_offset: uint64(begin),
	})
	if err != nil {
		o.base.refusals.Add(1)
		return false
	}
	o.base.shared.Add(end - begin)
	return true
}

// copy copies a range by reading and writing it.
func (o *Old) copy(fd int, off, end int64) error {
	if off >= end {
		return nil
	}
	buf := make([]byte, min(end-off, 1<<20))
	for off < end {
		part := buf[:min(int64(len(buf)), end-off)]
		if err := preadFull(o.fd, part, off); err != nil {
			return err
		}
		hole, err := WriteSparse(fd, part, off)
		if err != nil {
			return err
		}
		off += int64(len(part))
		if hole {
			if err := growTo(fd, off); err != nil {
				return err
			}
		}
	}
	return nil
}

// growTo makes a file at least size bytes long.
func growTo(fd int, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Size >= size {
		return nil
	}
	return unix.Ftruncate(fd, size)
}
