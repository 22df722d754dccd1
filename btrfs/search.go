package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// Item types of the trees (include/uapi/linux/btrfs_tree.h).
const (
	inodeItemKey = 1
	rootItemKey  = 132
	rootRefKey   = 156
)

// searcher reads items of a file system's trees (BTRFS_IOC_TREE_SEARCH_V2). It
// is for one goroutine.
type searcher struct {
	f    *os.File // any directory of the file system
	args *searchArgs
}

func newSearcher(f *os.File) *searcher {
	return &searcher{f: f, args: new(searchArgs)}
}

// itemHeader is struct btrfs_ioctl_search_header.
type itemHeader struct {
	ObjectID, Offset uint64
	Type             uint32
}

// headerSize is the size of struct btrfs_ioctl_search_header.
const headerSize = 32

// items calls fn with each item of one object and type, by ascending offset.
// The data is valid during the call only.
func (s *searcher) items(tree, object uint64, kind uint32, fn func(offset uint64, data []byte) error) error {
	for next := uint64(0); ; {
		s.args.Key = searchKey{
			TreeID: tree, MinObjectID: object, MaxObjectID: object, MinType: kind, MaxType: kind,
			MinOffset: next, MaxOffset: math.MaxUint64, MaxTransID: math.MaxUint64, NrItems: math.MaxUint32,
		}
		s.args.BufSize = uint64(len(s.args.Buf))
		if err := ioctl(int(s.f.Fd()), iocTreeSearchV2, s.args); err != nil {
			return os.NewSyscallError("BTRFS_IOC_TREE_SEARCH_V2", err)
		}
		last, found := uint64(0), false
		err := parseItems(s.args.Buf[:], s.args.Key.NrItems, func(h itemHeader, data []byte) error {
			if h.ObjectID != object || h.Type != kind {
				return nil
			}
			last, found = h.Offset, true
			return fn(h.Offset, data)
		})
		if err != nil || !found || last == math.MaxUint64 {
			return err
		}
		next = last + 1
	}
}

// errStop ends a search early.
var errStop = errors.New("stop")

// first returns a copy of the first item's data, or nil.
func (s *searcher) first(tree, object uint64, kind uint32) ([]byte, error) {
	var out []byte
	err := s.items(tree, object, kind, func(_ uint64, data []byte) error {
		out = append([]byte{}, data...)
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return out, nil
}

// parseItems walks what BTRFS_IOC_TREE_SEARCH_V2 left in its buffer: headers in
// the machine's byte order, each followed by its item as on disk.
func parseItems(buf []byte, n uint32, fn func(itemHeader, []byte) error) error {
	for ; n > 0; n-- {
		if len(buf) < headerSize {
			return errors.New("cannot parse a tree search: a header is cut short")
		}
		h := itemHeader{
			ObjectID: binary.NativeEndian.Uint64(buf[8:]),
			Offset:   binary.NativeEndian.Uint64(buf[16:]),
			Type:     binary.NativeEndian.Uint32(buf[24:]),
		}
		size := uint64(binary.NativeEndian.Uint32(buf[28:]))
		buf = buf[headerSize:]
		if size > uint64(len(buf)) {
			return errors.New("cannot parse a tree search: an item is cut short")
		}
		if err := fn(h, buf[:size:size]); err != nil {
			return err
		}
		buf = buf[size:]
	}
	return nil
}

// parseRootRef reads struct btrfs_root_ref: the directory that a subvolume is
// an entry of, and its name there.
func parseRootRef(data []byte) (dirID uint64, name string, err error) {
	const fixed = 18
	if len(data) < fixed {
		return 0, "", fmt.Errorf("cannot parse a root reference of %d bytes", len(data))
	}
	size := int(binary.LittleEndian.Uint16(data[16:]))
	if size != len(data)-fixed {
		return 0, "", fmt.Errorf("cannot parse a root reference: name of %d bytes in %d", size, len(data)-fixed)
	}
	name = string(data[fixed:])
	if err := checkName(name); err != nil {
		return 0, "", fmt.Errorf("cannot parse a root reference: %w", err)
	}
	return binary.LittleEndian.Uint64(data), name, nil
}

// parseRootItem reads struct btrfs_root_item. Before Linux 3.6 it ended behind
// 239 bytes; since then it says in generation_v2 whether the rest is valid.
func parseRootItem(data []byte) (Subvolume, error) {
	const oldSize, timesEnd = 239, 375
	if len(data) < oldSize {
		return Subvolume{}, fmt.Errorf("cannot parse a root item of %d bytes", len(data))
	}
	s := Subvolume{
		Generation: binary.LittleEndian.Uint64(data[160:]),
		ReadOnly:   binary.LittleEndian.Uint64(data[208:])&rootReadOnly != 0,
	}
	if len(data) < timesEnd || binary.LittleEndian.Uint64(data[239:]) != s.Generation {
		return s, nil
	}
	s.UUID = formatUUID([16]byte(data[247:]))
	s.ParentUUID = formatUUID([16]byte(data[263:]))
	s.ReceivedUUID = formatUUID([16]byte(data[279:]))
	s.CreatedAt = unixTime(binary.LittleEndian.Uint64(data[339:]), binary.LittleEndian.Uint32(data[347:]))
	return s, nil
}

// unixTime is the zero time for a file system that stores none.
func unixTime(sec uint64, nsec uint32) time.Time {
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(int64(sec), int64(nsec)).UTC()
}
