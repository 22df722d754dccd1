package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// fragment is an entry of the table of fragments: a block that holds the ends of
// several files.
type fragment struct {
	start uint64
	size  uint32 // length word
}

// tables are all tables of a squashfs, decompressed.
type tables struct {
	super     Super
	inodes    *table
	dirs      *table
	owners    []uint32
	fragments []fragment
	xattrs    xattrs
}

// readTables reads the tables from b, which is the file system from the inode
// table on to its end.
func readTables(s Super, b []byte) (*tables, error) {
	t := &tail{base: s.InodeTable, b: b, c: s.Compression, size: int(s.BlockSize)}
	out := &tables{super: s}
	// Each table ends where the next one begins, and the last of those whose
	// length is not told is that of the directories.
	owners, end, err := t.indexed("owners", s.IDTable, int(s.IDs)*4)
	if err != nil {
		return nil, err
	}
	for ; len(owners) > 0; owners = owners[4:] {
		out.owners = append(out.owners, binary.LittleEndian.Uint32(owners))
	}
	if s.ExportTable != absent {
		// Its contents find inodes by number (NFS), which unpacking does not need.
		first, err := t.u64(s.ExportTable)
		if err != nil {
			return nil, err
		}
		end = min(end, s.ExportTable, first)
	}
	first, err := out.readFragments(t)
	if err != nil {
		return nil, err
	}
	end = min(end, first)
	if s.XattrTable != absent {
		if out.xattrs, err = t.readXattrs(s.XattrTable); err != nil {
			return nil, err
		}
		start, err := t.u64(s.XattrTable)
		if err != nil {
			return nil, err
		}
		end = min(end, start, s.XattrTable)
	}
	if end < s.DirectoryTable {
		return nil, errors.New("the table of directories ends before it begins")
	}
	if out.dirs, err = t.table("directories", s.DirectoryTable, end, maxDirTable); err != nil {
		return nil, err
	}
	out.inodes, err = t.table("inodes", s.InodeTable, s.DirectoryTable, maxInodeTable)
	return out, err
}

// u64 reads a number at an offset in the file.
func (t *tail) u64(off uint64) (uint64, error) {
	if off < t.base || off-t.base > uint64(len(t.b)) || uint64(len(t.b))-(off-t.base) < 8 {
		return 0, fmt.Errorf("a table at %d is cut short", off)
	}
	return binary.LittleEndian.Uint64(t.b[off-t.base:]), nil
}

// readFragments reads the table of fragments and says where its first block is.
func (ts *tables) readFragments(t *tail) (first uint64, err error) {
	s := &ts.super
	if s.Fragments == 0 {
		return min(s.FragmentTable, s.IDTable), nil
	}
	if s.FragmentTable == absent {
		return 0, errors.New("the table of fragments is missing")
	}
	if s.Fragments > MaxInodes {
		return 0, &LimitError{What: "fragments", Limit: MaxInodes}
	}
	b, first, err := t.indexed("fragments", s.FragmentTable, int(s.Fragments)*16)
	if err != nil {
		return 0, err
	}
	ts.fragments = make([]fragment, s.Fragments)
	c := &cursor{b: b}
	for i := range ts.fragments {
		ts.fragments[i] = fragment{start: c.u64(), size: c.u32()}
		c.u32() // unused
	}
	return first, nil
}

// inode decodes the inode that a reference names.
func (ts *tables) inode(ref uint64) (inode, error) {
	at, err := ts.inodes.ref(ref)
	if err != nil {
		return inode{}, err
	}
	n, err := readInode(ts.inodes.b[at:], ts.super.BlockSize)
	n.at = at
	if err != nil {
		return n, err
	}
	if int(n.uid) >= len(ts.owners) || int(n.gid) >= len(ts.owners) {
		return n, fmt.Errorf("its owner %d or group %d is not in the table of owners", n.uid, n.gid)
	}
	if ts.owners[n.uid] == 1<<32-1 || ts.owners[n.gid] == 1<<32-1 {
		return n, errors.New("its owner or group is -1, which chown(2) cannot set")
	}
	if n.number == 0 || n.number > ts.super.Inodes {
		return n, fmt.Errorf("its number %d is not within the %d of the file system", n.number, ts.super.Inodes)
	}
	return n, nil
}
