package btrfs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Damage is a file of which some content cannot be read, or a subvolume of which
// the metadata cannot.
type Damage struct {
	SubvolumeID uint64
	Subvolume   string // its path below the directory that was searched; "" for that itself
	// Path is the file in the subvolume, by one of its names: "" when the metadata
	// are damaged, or when it has lost its last name.
	Path   string
	Inode  uint64
	Offset uint64 // of the first damaged byte in the file
	Length uint64 // of what is damaged from there on, as far as it is in one piece
}

const (
	extentRegularItem = 1 // BTRFS_FILE_EXTENT_REG
	// readStep is how much is read at a time, and readBlock the grain of what is
	// told to be damaged: no checksum covers less.
	readStep  = 1 << 20
	readBlock = 4 << 10
)

// fileExtent is a struct btrfs_file_extent_item that has data on the disk.
type fileExtent struct {
	disk, diskLen  uint64 // the extent
	offset, length uint64 // what of it, uncompressed, the file shows
	compressed     bool
}

// parseFileExtent reads an item; ok is false for holes, inline data and space
// that was only reserved.
func parseFileExtent(data []byte) (e fileExtent, ok bool) {
	if len(data) < 53 || data[20] != extentRegularItem {
		return fileExtent{}, false
	}
	le := binary.LittleEndian
	e = fileExtent{
		disk: le.Uint64(data[21:]), diskLen: le.Uint64(data[29:]), offset: le.Uint64(data[37:]), length: le.Uint64(data[45:]),
		compressed: data[16] != 0,
	}
	return e, e.disk != 0
}

// Damaged finds the files below path, the root of a subvolume, that cannot be
// read whole: it reads all data once, however many snapshots share them, past the
// page cache, and then looks which files have what could not be read. progress,
// which may be nil, is told the bytes that were read so far.
//
// Files without checksums (nodatacow) are damaged only where the disk says so.
func Damaged(ctx context.Context, path string, progress func(read uint64)) ([]Damage, error) {
	var out []Damage
	err := withDir(path, func(f *os.File) error {
		own, err := rootID(f)
		if err != nil {
			return err
		}
		subs, err := list(f)
		if err != nil {
			return err
		}
		d := damageFinder{ctx: ctx, s: newTreeWalker(f), reader: newSearcher(f), progress: progress, seen: map[fileExtent]bool{}}
		if d.buf, err = unix.Mmap(-1, 0, readStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
			return os.NewSyscallError("mmap", err)
		}
		defer func() { _ = unix.Munmap(d.buf) }()
		roots := append([]Subvolume{{ID: own}}, subs...)
		out, err = d.find(roots)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look for damaged files in %s: %w", path, err)
	}
	return out, nil
}

type damageFinder struct {
	ctx      context.Context //nolint:containedctx // of one call
	s        *treeWalker
	reader   *searcher
	progress func(uint64)
	read     uint64
	buf      []byte
	seen     map[fileExtent]bool
	bad      []badRange
	file     *os.File // the inode that was read last
	fileID   [2]uint64
}

// badRange is what cannot be read, in the addresses of the extents; of a
// compressed extent it is all of it.
type badRange struct {
	disk, start, end uint64
	compressed       bool
}

func (d *damageFinder) find(roots []Subvolume) ([]Damage, error) {
	defer d.closeFile()
	var out []Damage
	unreadable := map[uint64]bool{}
	for _, r := range roots {
		err := d.s.extents(r.ID, func(inode, at uint64, e fileExtent) error {
			return errors.Join(d.ctx.Err(), d.check(r.ID, inode, at, e))
		})
		if errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) {
			unreadable[r.ID] = true
			out = append(out, Damage{SubvolumeID: r.ID, Subvolume: r.Path})
		} else if err != nil && !errors.Is(err, unix.ENOENT) { // deleted meanwhile
			return nil, err
		}
	}
	if len(d.bad) == 0 {
		return out, nil
	}
	for _, r := range roots {
		if unreadable[r.ID] {
			continue
		}
		found, err := d.having(r)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		out = append(out, found...)
	}
	slices.SortFunc(out, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Subvolume, b.Subvolume), cmp.Compare(a.Path, b.Path))
	})
	return out, nil
}

// check reads what a file shows of an extent, unless that was read before.
func (d *damageFinder) check(root, inode, at uint64, e fileExtent) error {
	if d.seen[e] {
		return nil
	}
	d.seen[e] = true
	f, err := d.open(root, inode)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOENT) {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	for done := uint64(0); done < e.length; done += readStep {
		n := min(readStep, e.length-done)
		_, err := unix.Pread(int(f.Fd()), d.buf[:n], int64(at+done))
		if errors.Is(err, unix.EIO) {
			d.narrow(f, at, done, n, e)
		} else if err != nil {
			return os.NewSyscallError("pread", err)
		}
		d.read += n
		if d.progress != nil {
			d.progress(d.read)
		}
		if err := d.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// narrow reads a piece that cannot be read whole block by block.
func (d *damageFinder) narrow(f *os.File, at, from, n uint64, e fileExtent) {
	for done := from; done < from+n; done += readBlock {
		if _, err := unix.Pread(int(f.Fd()), d.buf[:readBlock], int64(at+done)); !errors.Is(err, unix.EIO) {
			continue
		}
		b := badRange{disk: e.disk, start: e.offset + done, end: e.offset + done + readBlock, compressed: e.compressed}
		if last := len(d.bad) - 1; last >= 0 && d.bad[last].disk == b.disk && d.bad[last].end == b.start {
			d.bad[last].end = b.end
			continue
		}
		d.bad = append(d.bad, b)
	}
}

// open opens a file by its number, past the page cache.
func (d *damageFinder) open(root, inode uint64) (*os.File, error) {
	if d.file != nil && d.fileID == [2]uint64{root, inode} {
		return d.file, nil
	}
	d.closeFile()
	f, err := d.reader.openFile(root, inode, unix.O_DIRECT)
	if errors.Is(err, unix.EINVAL) {
		f, err = d.reader.openFile(root, inode, 0)
	}
	if err != nil {
		return nil, err
	}
	// Compressed data are read through the cache all the same.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	d.file, d.fileID = f, [2]uint64{root, inode}
	return f, nil
}

func (d *damageFinder) closeFile() {
	if d.file != nil {
		_ = d.file.Close()
		d.file = nil
	}
}

// having lists the files of a subvolume that have something bad, each once.
func (d *damageFinder) having(r Subvolume) ([]Damage, error) {
	var out []Damage
	err := d.s.extents(r.ID, func(inode, at uint64, e fileExtent) error {
		for _, b := range d.bad {
			start, end := max(b.start, e.offset), min(b.end, e.offset+e.length)
			if b.disk != e.disk || start >= end || slices.ContainsFunc(out, func(o Damage) bool { return o.Inode == inode }) {
				continue
			}
			out = append(out, Damage{SubvolumeID: r.ID, Subvolume: r.Path, Inode: inode, Offset: at + start - e.offset, Length: end - start})
		}
		return d.ctx.Err()
	})
	for i := range out {
		name, nerr := inodePath(d.s.f, r.ID, out[i].Inode)
		if nerr == nil {
			out[i].Path = strings.TrimSuffix(name, "/")
		}
	}
	return out, err
}
