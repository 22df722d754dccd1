package btrfs

import (
	"errors"
	"math"
	"os"
)

// itemKey is where an item is in its tree (struct btrfs_key).
type itemKey struct {
	ObjectID uint64
	Type     uint8
	Offset   uint64
}

// next is the smallest key above k; false when there is none.
func (k itemKey) next() (itemKey, bool) {
	switch {
	case k.Offset < math.MaxUint64:
		k.Offset++
	case k.Type < math.MaxUint8:
		k.Type, k.Offset = k.Type+1, 0
	case k.ObjectID < math.MaxUint64:
		k = itemKey{ObjectID: k.ObjectID + 1}
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

// scan calls fn with every item of a tree from one key up to another, in the
// order of the keys: the types in between too, as keys are compared as a whole.
// The data is valid during the call only. A tree that is not there is
// unix.ENOENT.
func scan(f *os.File, tree uint64, from, to itemKey, fn func(key itemKey, data []byte) error) error {
	args := new(scanArgs)
	for more := true; more; {
		args.Key = searchKey{
			TreeID: tree, MinObjectID: from.ObjectID, MaxObjectID: to.ObjectID, MinType: uint32(from.Type), MaxType: uint32(to.Type),
			MinOffset: from.Offset, MaxOffset: to.Offset, MaxTransID: math.MaxUint64, NrItems: math.MaxUint32,
		}
		args.BufSize = uint64(len(args.Buf))
		if err := ioctl(int(f.Fd()), iocTreeSearchV2, args); err != nil {
			return os.NewSyscallError("BTRFS_IOC_TREE_SEARCH_V2", err)
		}
		if args.Key.NrItems == 0 {
			return nil
		}
		var last itemKey
		err := parseItems(args.Buf[:], args.Key.NrItems, func(h itemHeader, data []byte) error {
			last = itemKey{ObjectID: h.ObjectID, Type: uint8(h.Type), Offset: h.Offset}
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
