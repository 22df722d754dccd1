package btrfs

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	inodeRefKey    = 12
	inodeExtrefKey = 13
	// setIDs are the bits of a mode that the kernel drops when a file gets another owner (chown(2)).
	setIDBits = unix.S_ISUID | unix.S_ISGID
)

// setIDs are files with set-id bits by their paths: a directory, or a file with its mode.
type setIDs struct {
	mode    uint32
	entries map[string]*setIDs
}

// find is what is at path, or nil.
func (d *setIDs) find(path string) *setIDs {
	for name := range strings.SplitSeq(path, "/") {
		if d = d.entries[name]; d == nil {
			return nil
		}
	}
	return d
}

// take removes what is at path and returns it, or nil.
func (d *setIDs) take(path string) *setIDs {
	if at := strings.LastIndexByte(path, '/'); at >= 0 {
		if d = d.find(path[:at]); d == nil {
			return nil
		}
		path = path[at+1:]
	}
	what := d.entries[path]
	delete(d.entries, path)
	return what
}

// put puts what at path, in place of what is there.
func (d *setIDs) put(path string, what *setIDs) {
	for {
		name, rest, more := strings.Cut(path, "/")
		if d.entries == nil {
			d.entries = map[string]*setIDs{}
		}
		if !more {
			d.entries[name] = what
			return
		}
		next := d.entries[name]
		if next == nil {
			next = &setIDs{}
			d.entries[name] = next
		}
		d, path = next, rest
	}
}

// fileRef is a name of a file.
type fileRef struct {
	dir  uint64
	name string
	mode uint32
}

// readSetIDs finds the files of the subvolume at path that have set-id bits, in one pass over its tree.
func readSetIDs(path string) (_ *setIDs, err error) {
	f, err := openSubvolume(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	root, err := rootID(f)
	if err != nil {
		return nil, err
	}
	var refs []fileRef
	var inode uint64 // the last one with such bits
	var mode uint32
	err = newTreeWalker(f).items(root, firstFreeObjectID, func(h itemHeader, data []byte) error {
		const modeAt = 52
		switch {
		case h.Type == inodeItemKey && len(data) >= modeAt+4:
			if m := binary.LittleEndian.Uint32(data[modeAt:]); m&setIDBits != 0 && m&unix.S_IFMT != unix.S_IFDIR {
				inode, mode = h.ObjectID, m
			}
		case h.ObjectID != inode:
		case h.Type == inodeRefKey:
			for name := range fileNames(data, 8) {
				refs = append(refs, fileRef{h.Offset, name, mode})
			}
		case h.Type == inodeExtrefKey && len(data) >= 8:
			for name := range fileNames(data, 16) {
				refs = append(refs, fileRef{binary.LittleEndian.Uint64(data), name, mode})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := &setIDs{}
	for _, r := range refs {
		dir, err := inodePath(f, root, r.dir)
		if err != nil {
			return nil, err
		}
		all.put(dir+r.name, &setIDs{mode: r.mode})
	}
	return all, nil
}

// fileNames are the names in a struct btrfs_inode_ref or btrfs_inode_extref, of which fixed bytes are before the length of
// the first name.
func fileNames(data []byte, fixed int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for len(data) >= fixed+2 {
			size := int(binary.LittleEndian.Uint16(data[fixed:]))
			if data = data[fixed+2:]; size > len(data) || !yield(string(data[:size])) {
				return
			}
			data = data[size:]
		}
	}
}
