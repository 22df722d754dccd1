package pool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// candidate is a file, a block device or a subvolume that may hold a pool which
// is to be looked into, or adopted. Nothing of it has been attached yet.
type candidate struct {
	// rec is what a record of it would say so far: Kind, Source, UUID and the subvolume.
	rec state.PoolRecord
	// super is zero for a subvolume but for what concerns it: UUID, and as the label its name.
	super btrfs.Super
	// size is that of the file or device, or of the file system around a subvolume, in bytes.
	size int64
	// own is the record of the pool that it is here already; nil when it is none.
	own *state.PoolRecord
}

// candidateAt looks at a file, block device or subvolume: is there a btrfs file
// system, all of it? Nothing is changed, nothing attached.
func (s *System) candidateAt(path string) (c candidate, err error) {
	if path == "" {
		return c, withHint(errors.New("the path is empty"), "give the file, the block device or the subvolume that holds the pool")
	}
	if c.rec.Source, err = filepath.Abs(path); err != nil {
		return c, err
	}
	c.rec.Driver = "btrfs"
	info, err := os.Stat(c.rec.Source)
	if err != nil {
		return c, statError(err)
	}
	switch kind := info.Mode().Type(); {
	case kind == fs.ModeDevice:
		c.rec.Kind = state.PoolDevice
	case info.IsDir():
		return s.candidateDirectory(c)
	case kind != 0:
		return c, errors.New("it is neither a file, nor a block device, nor a subvolume")
	}
	if c.super, err = btrfs.ReadSuper(c.rec.Source); err != nil {
		return c, err
	}
	c.rec.UUID = c.super.UUID
	if c.super.NumDevices != 1 {
		return c, fmt.Errorf("its file system is spread over %d devices: a pool is on one", c.super.NumDevices)
	}
	if c.size, err = sizeOf(c.rec.Source); err != nil {
		return c, err
	}
	if uint64(c.size) < c.super.TotalBytes { //nolint:gosec // a size is not negative
		return c, fmt.Errorf("it is truncated: the file system has %d bytes, and this %d", c.super.TotalBytes, c.size)
	}
	c.own, err = s.poolAt(c.rec.Source)
	return c, err
}

// candidateDirectory is candidateAt for a directory.
func (s *System) candidateDirectory(c candidate) (candidate, error) {
	sub, err := btrfs.Stat(c.rec.Source)
	if errors.Is(err, btrfs.ErrNotSubvolume) {
		return c, withHint(errors.New("it is a directory, and no subvolume of btrfs"), "give the file, the block device or the subvolume that holds the pool")
	} else if err != nil {
		return c, err
	}
	info, err := btrfs.FSInfo(c.rec.Source)
	if err != nil {
		return c, err
	}
	usage, err := btrfs.GetUsage(c.rec.Source)
	if err != nil {
		return c, err
	}
	c.rec.Kind, c.rec.UUID, c.rec.SubvolumeID, c.rec.SubvolumeUUID = state.PoolDirectory, info.UUID, sub.ID, sub.UUID
	c.super = btrfs.Super{UUID: info.UUID, Label: filepath.Base(c.rec.Source)}
	c.size, c.super.BytesUsed = int64(usage.Size), usage.Used //nolint:gosec // no device has 8 EiB
	c.own, err = s.poolAt(c.rec.Source)
	return c, err
}

// statError leaves out the operation and the path, which the caller names.
func statError(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// pathName is a path for an error, one that is empty too.
func pathName(path string) string {
	if path == "" {
		return `""`
	}
	return path
}

// sizeOf is the size of a file or block device in bytes.
func sizeOf(path string) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Seek(0, io.SeekEnd)
}

// poolAt finds the pool here that lies on the file or device at path, by
// whichever name; nil when there is none.
func (s *System) poolAt(path string) (*state.PoolRecord, error) {
	names, err := s.dir.ListPools()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		rec, err := s.dir.LoadPool(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if same, err := sameSource(rec.Source, path); err != nil || same {
			return &rec, err
		}
	}
	return nil, nil
}

// sameSource says whether two paths are one file, or one block device by
// whichever node.
func sameSource(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Stat(b, &sb); err != nil {
		return false, &fs.PathError{Op: "stat", Path: b, Err: err}
	}
	if err := unix.Stat(a, &sa); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil // it is gone, so it is not the other one
	} else if err != nil {
		return false, &fs.PathError{Op: "stat", Path: a, Err: err}
	}
	if sa.Mode&unix.S_IFMT == unix.S_IFBLK && sb.Mode&unix.S_IFMT == unix.S_IFBLK {
		return sa.Rdev == sb.Rdev, nil
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino, nil
}
