package btrfs

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// Key is where an item is in its tree (struct btrfs_key). Keys are ordered by
// object, then type, then offset.
type Key struct {
	ObjectID uint64
	Type     uint8
	Offset   uint64
}

// next is the smallest key above k; false when there is none.
func (k Key) next() (Key, bool) {
	switch {
	case k.Offset < math.MaxUint64:
		k.Offset++
	case k.Type < math.MaxUint8:
		k.Type, k.Offset = k.Type+1, 0
	case k.ObjectID < math.MaxUint64:
		k = Key{ObjectID: k.ObjectID + 1}
	default:
		return k, false
	}
	return k, true
}

// scanArgs is struct btrfs_ioctl_search_args_v2 with a buffer that holds any
// item: none is larger than a node, of 64 KiB at most.
type scanArgs struct {
	Key     searchKey
	BufSize uint64
	Buf     [128 << 10]byte
}

// Trees reads items of the trees of a mounted file system
// (BTRFS_IOC_TREE_SEARCH_V2). It is for one goroutine.
type Trees struct {
	f    *os.File
	args *scanArgs
}

// OpenTrees opens the file system that the directory dir is on.
func OpenTrees(dir string) (*Trees, error) {
	f, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the trees of %s: %w", dir, err)
	}
	return &Trees{f, new(scanArgs)}, nil
}

// Close ends it.
func (t *Trees) Close() error { return t.f.Close() }

// ErrStop ends a Scan without an error when the function that it calls returns it.
var ErrStop = errStop

// Scan calls fn with the items of a tree from one key up to another, both
// included, in the order of the keys: the types in between too, as keys are
// compared as a whole. With since, only those of leaves that were written in a
// later transaction than that one: they hold all that came or changed since, and
// what lies beside it. The data is valid during the call only, during which the
// tree must not be scanned again. A tree that is not there is unix.ENOENT.
//
// What is not in the trees yet is not found: the kernel puts much of it there
// with the next commit. A snapshot is complete.
func (t *Trees) Scan(tree uint64, from, to Key, since uint64, fn func(key Key, data []byte) error) error {
	if since == math.MaxUint64 {
		return nil
	}
	if since > 0 {
		since++
	}
	for more := true; more; {
		t.args.Key = searchKey{
			TreeID: tree, MinObjectID: from.ObjectID, MaxObjectID: to.ObjectID, MinType: uint32(from.Type), MaxType: uint32(to.Type),
			MinOffset: from.Offset, MaxOffset: to.Offset, MinTransID: since, MaxTransID: math.MaxUint64, NrItems: math.MaxUint32,
		}
		t.args.BufSize = uint64(len(t.args.Buf))
		if err := ioctl(int(t.f.Fd()), iocTreeSearchV2, t.args); err != nil {
			return os.NewSyscallError("BTRFS_IOC_TREE_SEARCH_V2", err)
		}
		if t.args.Key.NrItems == 0 {
			return nil
		}
		var last Key
		err := parseItems(t.args.Buf[:], t.args.Key.NrItems, func(h itemHeader, data []byte) error {
			last = Key{ObjectID: h.ObjectID, Type: uint8(h.Type), Offset: h.Offset}
			return fn(last, data)
		})
		if errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return err
		}
		from, more = last.next()
	}
	return nil
}

// scan is Trees.Scan of all items, once.
func scan(f *os.File, tree uint64, from, to Key, fn func(key Key, data []byte) error) error {
	return (&Trees{f, new(scanArgs)}).Scan(tree, from, to, 0, fn)
}
