package btrfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// bigSearchArgs is struct btrfs_ioctl_search_args_v2 with room for any item: the
// largest nodes have 64 KiB.
type bigSearchArgs struct {
	Key     searchKey
	BufSize uint64
	Buf     [128 << 10]byte
}

// treeWalker reads whole trees. It is for one goroutine.
type treeWalker struct {
	f    *os.File
	args *bigSearchArgs
}

func newTreeWalker(f *os.File) *treeWalker {
	return &treeWalker{f: f, args: new(bigSearchArgs)}
}

// fullHeader is an item's key.
type fullHeader struct {
	object, offset uint64
	kind           uint32
}

// after is the smallest key behind h; ok is false when there is none.
func (h fullHeader) after() (next fullHeader, ok bool) {
	switch {
	case h.offset < math.MaxUint64:
		return fullHeader{h.object, h.offset + 1, h.kind}, true
	case h.kind < math.MaxUint8:
		return fullHeader{h.object, 0, h.kind + 1}, true
	case h.object < math.MaxUint64:
		return fullHeader{h.object + 1, 0, 0}, true
	}
	return h, false
}

// items calls fn with each item of a tree from object first on, by ascending key.
func (w *treeWalker) items(tree, first uint64, fn func(h itemHeader, data []byte) error) error {
	at := fullHeader{object: first}
	for {
		w.args.Key = searchKey{
			TreeID: tree, MinObjectID: at.object, MaxObjectID: math.MaxUint64, MinType: at.kind, MaxType: math.MaxUint8,
			MinOffset: at.offset, MaxOffset: math.MaxUint64, MaxTransID: math.MaxUint64, NrItems: math.MaxUint32,
		}
		w.args.BufSize = uint64(len(w.args.Buf))
		if err := ioctl(int(w.f.Fd()), iocTreeSearchV2, w.args); err != nil {
			return os.NewSyscallError("BTRFS_IOC_TREE_SEARCH_V2", err)
		}
		if w.args.Key.NrItems == 0 {
			return nil
		}
		err := parseItems(w.args.Buf[:], w.args.Key.NrItems, func(h itemHeader, data []byte) error {
			at = fullHeader{h.ObjectID, h.Offset, h.Type}
			return fn(h, data)
		})
		next, more := at.after()
		if err != nil || !more {
			return err
		}
		at = next
	}
}

// extents calls fn with each piece of data of the files of a subvolume: the file,
// where in it, and which.
func (w *treeWalker) extents(root uint64, fn func(inode, at uint64, e fileExtent) error) error {
	return w.items(root, firstFreeObjectID, func(h itemHeader, data []byte) error {
		if h.Type != extentDataKey {
			return nil
		}
		if e, ok := parseFileExtent(data); ok {
			return fn(h.ObjectID, h.Offset, e)
		}
		return nil
	})
}

// ReadMetadata reads every tree of the mounted file system at path whole, so that
// the kernel verifies what of it is not in memory: checksums, and that the
// contents make sense. It returns what cannot be read, a line for each tree.
func ReadMetadata(ctx context.Context, path string) ([]string, error) {
	var problems []string
	err := withDir(path, func(f *os.File) error {
		trees := []uint64{rootTreeID, chunkTreeID}
		w := newTreeWalker(f)
		err := w.items(rootTreeID, 0, func(h itemHeader, _ []byte) error {
			if h.Type == rootItemKey && h.ObjectID < 1<<63 { // not the logs, which are of a moment
				trees = append(trees, h.ObjectID)
			}
			return ctx.Err()
		})
		if err != nil && !isDamage(err) {
			return err
		}
		for _, tree := range trees {
			err := w.items(tree, 0, func(itemHeader, []byte) error { return ctx.Err() })
			switch {
			case isDamage(err):
				problems = append(problems, fmt.Sprintf("%s cannot be read: %s", treeName(tree), errors.Unwrap(err)))
			case err != nil && !errors.Is(err, unix.ENOENT): // deleted meanwhile
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the metadata at %s: %w", path, err)
	}
	return problems, nil
}

// isDamage says whether an error is one of the disk's contents.
func isDamage(err error) bool { return errors.Is(err, unix.EIO) || errors.Is(err, unix.EUCLEAN) }

// treeName is a tree for people (include/uapi/linux/btrfs_tree.h).
func treeName(id uint64) string {
	names := map[uint64]string{
		1: "the tree of roots", 2: "the tree of extents", 3: "the tree of chunks", 4: "the tree of devices", 5: "the top level",
		7: "the tree of checksums", 8: "the tree of quotas", 9: "the tree of UUIDs", 10: "the tree of free space", 11: "the tree of block groups",
	}
	if n, ok := names[id]; ok {
		return n
	}
	return fmt.Sprintf("the subvolume with id %d", id)
}

// openFile opens a file by the subvolume that it is in and its inode number, as
// openInode does a directory. Only regular files are.
func (s *searcher) openFile(root, inode uint64, flags int) (*os.File, error) {
	fd, err := s.openHandle(root, inode, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOATIME|flags)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(err, unix.ENOENT, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "inode"), nil
}
