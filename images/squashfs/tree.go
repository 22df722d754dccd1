package squashfs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"poolctl/images/internal/restore"
)

// node is a file of any kind in the tree. Small, as there may be a million.
type node struct {
	size   uint64 // of a file in bytes; a device's number; where a link's target is
	parent uint32 // index of its directory
	name   uint32 // where it is in the table of directories
	mtime  uint32
	xattr  uint32
	pieces uint32 // how many there are of a file
	uid    uint16 // indices in the table of owners
	gid    uint16
	mode   uint16
	kind   uint8
	length uint8 // of the name
	hole   bool  // a file has blocks that are not stored
}

// link is a further name of a node.
type link struct {
	node, parent, name uint32
	length             uint8
}

// piece is a part of a file and the block that it is in.
type piece struct {
	start uint64 // of the block, in the squashfs
	size  uint32 // length word of the block
	node  uint32
	index uint32 // of the file's block
	inner uint32 // offset in a fragment, or wholeBlock
}

const wholeBlock = 1<<32 - 1

// tree is what a squashfs holds. A node's directory comes before it.
type tree struct {
	*tables
	nodes  []node // the first is the root directory
	links  []link
	pieces []piece // by the place of their block
}

// walk reads the whole tree from the tables, and checks it.
func (ts *tables) walk(ctx context.Context, limits Limits) (*tree, error) {
	w := &walker{
		ctx: ctx, tree: &tree{tables: ts}, budget: restore.NewBudget(limits),
		seen: make([]uint32, ts.super.Inodes+1), xattrSizes: make([]uint32, len(ts.xattrs.sets)/xattrIDSize),
	}
	room := min(int(ts.super.Inodes), len(ts.inodes.b)/minInode+1) // no more than there can be
	w.tree.nodes, w.refs = make([]node, 0, room), make([]uint64, 0, room)
	root, err := ts.inode(ts.super.RootInode)
	if err == nil && root.kind != kindDir {
		err = errors.New("it is not a directory")
	}
	if err == nil {
		err = w.add(ts.super.RootInode, root, 0, dirEntry{})
	}
	if err == nil {
		err = w.dir(0, root, 0, 0)
	}
	if below := (*entryPathError)(nil); errors.As(err, &below) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("the root directory: %w", err)
	}
	return w.tree, w.sortPieces()
}

// walker builds a tree.
type walker struct {
	ctx    context.Context
	tree   *tree
	budget *restore.Budget
	seen   []uint32 // by an inode's number: 1 + the index of its node
	refs   []uint64 // of the nodes
	// xattrSizes are 1 + the bytes of each set of attributes, once looked at.
	xattrSizes []uint32
}

// dir reads the entries of a directory and what is below it. path is the length
// of its name from the root.
func (w *walker) dir(index uint32, n inode, depth, path int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if l := w.budget.Limits(); depth > l.Depth {
		return &LimitError{What: "components in a name", Limit: int64(l.Depth)}
	}
	if n.listSize <= 3 { // empty: there may be no place then
		return nil
	}
	at, err := w.tree.dirs.offset(uint64(n.dirBlock), int(n.dirOffset))
	if err != nil {
		return err
	}
	return eachEntry(w.tree.dirs, at, n.listSize-3, func(e dirEntry) error {
		err := w.entry(index, e, depth, path)
		if below, ok := errors.AsType[*entryPathError](err); ok {
			below.path = string(e.name) + "/" + below.path
		} else if err != nil {
			err = &entryPathError{string(e.name), err}
		}
		return err
	})
}

// entryPathError names the entry that is damaged.
type entryPathError struct {
	path string
	err  error
}

func (e *entryPathError) Error() string { return fmt.Sprintf("%.256q: %v", e.path, e.err) }
func (e *entryPathError) Unwrap() error { return e.err }

func (w *walker) entry(parent uint32, e dirEntry, depth, path int) error {
	if err := w.budget.Entry(); err != nil {
		return err
	}
	if path += 1 + len(e.name); path > w.budget.Limits().PathLen {
		return &LimitError{What: "bytes in a name", Limit: int64(w.budget.Limits().PathLen)}
	}
	n, err := w.tree.inode(e.ref)
	if err != nil {
		return err
	}
	if seen := w.seen[n.number]; seen != 0 {
		return w.again(seen-1, parent, n, e)
	}
	if err := w.add(e.ref, n, parent, e); err != nil {
		return err
	}
	if n.kind == kindDir {
		return w.dir(uint32(len(w.tree.nodes)-1), n, depth+1, path)
	}
	return nil
}

// again is a second entry for an inode: a hard link.
func (w *walker) again(index, parent uint32, n inode, e dirEntry) error {
	if w.refs[index] != e.ref {
		return fmt.Errorf("its inode has the number %d of another one", n.number)
	}
	if n.kind == kindDir {
		return errors.New("it is a directory that has two names, or contains itself")
	}
	w.tree.links = append(w.tree.links, link{node: index, parent: parent, name: uint32(e.at), length: uint8(len(e.name))})
	return nil
}

// add appends a node.
func (w *walker) add(ref uint64, n inode, parent uint32, e dirEntry) error {
	index := uint32(len(w.tree.nodes))
	out := node{
		size: n.size, parent: parent, name: uint32(e.at), length: uint8(len(e.name)),
		mtime: n.mtime, xattr: n.xattr, uid: n.uid, gid: n.gid, mode: n.mode & 0o7777, kind: n.kind,
	}
	switch n.kind {
	case kindFile:
		if err := w.file(&out, n, index); err != nil {
			return err
		}
	case kindSymlink:
		if slices.Contains(n.target, 0) {
			return errors.New("its target contains a NUL byte")
		}
		out.size = uint64(n.at+symlinkText)<<16 | uint64(len(n.target))
	case kindBlock, kindChar:
		out.size = uint64(n.rdev)
	}
	if err := w.takeXattrs(n.xattr); err != nil {
		return err
	}
	w.seen[n.number] = index + 1
	w.refs = append(w.refs, ref)
	w.tree.nodes = append(w.tree.nodes, out)
	return nil
}

// takeXattrs checks a set of attributes and counts its bytes.
func (w *walker) takeXattrs(id uint32) error {
	if id == noXattr {
		return nil
	}
	if int64(id) >= int64(len(w.xattrSizes)) {
		return fmt.Errorf("its set of extended attributes %d does not exist", id)
	}
	if w.xattrSizes[id] == 0 {
		list, err := w.tree.xattrs.list(id)
		if err != nil {
			return err
		}
		size := 1
		for _, x := range list {
			size += len(x.Name) + len(x.Value)
		}
		w.xattrSizes[id] = uint32(size)
	}
	return w.budget.Take(int64(w.xattrSizes[id]) - 1)
}

// file notes the pieces of a file.
func (w *walker) file(out *node, n inode, index uint32) error {
	if err := w.budget.Take(int64(n.size)); err != nil {
		return err
	}
	first := len(w.tree.pieces)
	start := n.start
	for i := 0; i < len(n.blocks)/4; i++ {
		word := binary.LittleEndian.Uint32(n.blocks[4*i:])
		if word == 0 {
			out.hole = true
			continue
		}
		if err := w.piece(piece{start: start, size: word, node: index, index: uint32(i), inner: wholeBlock}); err != nil {
			return err
		}
		start += uint64(word & sizeMask)
	}
	bs := uint64(w.tree.super.BlockSize)
	if tail := n.size % bs; n.fragment != noFragment && tail != 0 {
		if n.fragment >= uint32(len(w.tree.fragments)) {
			return fmt.Errorf("its fragment %d does not exist", n.fragment)
		}
		if uint64(n.inner)+tail > bs {
			return errors.New("its end lies outside of its fragment")
		}
		f := w.tree.fragments[n.fragment]
		if err := w.piece(piece{start: f.start, size: f.size, node: index, index: uint32(n.size / bs), inner: n.inner}); err != nil {
			return err
		}
	}
	out.pieces = uint32(len(w.tree.pieces) - first)
	return nil
}

// piece checks the place of a piece's block and notes the piece.
func (w *walker) piece(p piece) error {
	s := &w.tree.super
	length := p.size & sizeMask
	if p.size&^(sizeMask|plainBlock) != 0 || length == 0 || length > s.BlockSize {
		return fmt.Errorf("a block of it has a length of %#x bytes", p.size)
	}
	if p.start < SuperSize || p.start > s.InodeTable || s.InodeTable-p.start < uint64(length) {
		return fmt.Errorf("a block of it at %d lies outside of the data", p.start)
	}
	if len(w.tree.pieces) >= maxPieces {
		return &LimitError{What: "blocks", Limit: maxPieces}
	}
	w.tree.pieces = append(w.tree.pieces, p)
	return nil
}

// sortPieces brings the pieces in the order of their blocks. Several may be in
// one block, equal files or those of a fragment; else blocks do not overlap.
func (w *walker) sortPieces() error {
	all := w.tree.pieces
	slices.SortFunc(all, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.node, b.node), cmp.Compare(a.index, b.index))
	})
	for i := 1; i < len(all); i++ {
		a, b := &all[i-1], &all[i]
		if a.start == b.start && a.size != b.size || a.start != b.start && a.start+uint64(a.size&sizeMask) > b.start {
			return fmt.Errorf("blocks overlap: one at %d and one at %d", a.start, b.start)
		}
	}
	return nil
}

// nameOf is the name of a node within its directory.
func (t *tree) nameOf(name uint32, length uint8) string {
	return string(t.dirs.b[name : name+uint32(length)])
}

// path is the name of a node from the root, "." for the root itself.
func (t *tree) path(index uint32) string {
	if index == 0 {
		return "."
	}
	n := &t.nodes[index]
	return t.join(n.parent, n.name, n.length)
}

// join is the path of a name in a directory.
func (t *tree) join(parent, name uint32, length uint8) string {
	size := int(length)
	for i := parent; i != 0; i = t.nodes[i].parent {
		size += int(t.nodes[i].length) + 1
	}
	b := make([]byte, size)
	at := size - int(length)
	copy(b[at:], t.dirs.b[name:name+uint32(length)])
	for i := parent; i != 0; i = t.nodes[i].parent {
		n := &t.nodes[i]
		at--
		b[at] = '/'
		at -= int(n.length)
		copy(b[at:], t.dirs.b[n.name:n.name+uint32(n.length)])
	}
	return string(b)
}

// target is the text of a symbolic link.
func (t *tree) target(n *node) string {
	at := n.size >> 16
	return string(t.inodes.b[at : at+n.size&0xffff])
}
