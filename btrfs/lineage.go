package btrfs

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// Origins says of which subvolumes the subvolumes of a file system are
// snapshots.
type Origins struct {
	byID   map[uint64]origin
	byUUID map[[16]byte]origin
}

// origin is what a root item says of where its subvolume comes from.
type origin struct {
	uuid, parent [16]byte
	at           uint64 // the transaction in which it was made
}

// Origins reads them, of all subvolumes.
func (t *Trees) Origins() (Origins, error) {
	o := Origins{map[uint64]origin{}, map[[16]byte]origin{}}
	err := t.Scan(rootTreeID, Key{ObjectID: firstFreeObjectID}, Key{ObjectID: lastFreeObjectID}, 0, func(k Key, data []byte) error {
		const end = 311
		if k.Type != rootItemKey || len(data) < end {
			return nil
		}
		sub, err := parseRootItem(data)
		if err != nil || sub.UUID == "" {
			return err
		}
		found := origin{[16]byte(data[247:]), [16]byte(data[263:]), binary.LittleEndian.Uint64(data[303:])}
		o.byID[k.ObjectID], o.byUUID[found.uuid] = found, found
		return nil
	})
	return o, err
}

// Parted is the last transaction in which two subvolumes were the same, as
// snapshots of one another or of a third one, directly or over others: what
// either has of it or of earlier ones it has in common with the other. It is 0
// for two that have no such ancestor, or none that is known, and math.MaxUint64
// for one and the same subvolume.
func (o Origins) Parted(a, b uint64) uint64 {
	if a == b {
		return math.MaxUint64
	}
	left := map[[16]byte]uint64{} // the ancestors of a, and when its line left them
	o.ancestors(a, func(uuid [16]byte, at uint64) bool {
		left[uuid] = at
		return true
	})
	parted := uint64(0)
	o.ancestors(b, func(uuid [16]byte, at uint64) bool {
		other, common := left[uuid]
		if common {
			parted = min(other, at)
		}
		return !common
	})
	return parted
}

// ancestors calls fn with a subvolume and those that it descends from, the
// nearest first, and when its line left each; until fn returns false.
func (o Origins) ancestors(id uint64, fn func(uuid [16]byte, at uint64) bool) {
	at := uint64(math.MaxUint64)
	from, known := o.byID[id]
	for range len(o.byID) { // no circle can be longer
		if !known || !fn(from.uuid, at) {
			return
		}
		if at = from.at; from.parent == [16]byte{} {
			return
		}
		parent, there := o.byUUID[from.parent]
		if !there { // it was deleted
			fn(from.parent, at)
			return
		}
		from = parent
	}
}

// Nested describes the subvolumes nested directly in the one of that id. Their
// Path is not set.
func (t *Trees) Nested(id uint64) ([]Subvolume, error) {
	return newSearcher(t.f).children(id)
}

// RootOf is the id of the subvolume that the directory dir is in, and the number
// of its inode. dir may be on another file system.
func RootOf(dir string) (id, inode uint64, err error) {
	f, err := openDir(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0, err
	}
	id, err = rootID(f)
	return id, st.Ino, err
}
