package diff

import (
	"cmp"
	"errors"
	"io/fs"
	"math"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// inode is what a tree says of one file.
type inode struct {
	inodeItem
	xattrs  map[string]string
	extents []extent // of a regular file or symbolic link, without holes
}

// typ is its file type (S_IFMT).
func (i *inode) typ() uint32 { return i.mode & unix.S_IFMT }

// target is what an entry of a directory leads to.
type target struct {
	id  uint64
	sub bool // a subvolume
}

// tree is the tree of one subvolume, below one of its directories.
type tree struct {
	*btrfs.Trees
	id     uint64
	root   uint64            // the directory
	prefix string            // its path; "" for the outermost
	paths  map[uint64]string // of directories, ending in a slash; "" for one that is not below root
	ids    func(id uint32, group bool) uint32
	nested map[uint64]btrfs.Subvolume
}

func newTree(t *btrfs.Trees, id, root uint64, prefix string, ids func(uint32, bool) uint32) (*tree, error) {
	nested, err := t.Nested(id)
	if err != nil {
		return nil, err
	}
	out := &tree{Trees: t, id: id, root: root, prefix: prefix, ids: ids, paths: map[uint64]string{}, nested: map[uint64]btrfs.Subvolume{}}
	for _, sub := range nested {
		out.nested[sub.ID] = sub
	}
	return out, nil
}

// item reads an inode alone: nil when there is none.
func (t *tree) item(ino uint64) (*inodeItem, error) {
	var out *inodeItem
	key := btrfs.Key{ObjectID: ino, Type: inodeItemKey}
	err := t.Scan(t.id, key, key, 0, func(_ btrfs.Key, data []byte) error {
		item, err := parseInode(data)
		out = &item
		return err
	})
	return out, err
}

// read reads an inode with all that is compared of it: nil when there is none.
func (t *tree) read(ino uint64) (*inode, error) {
	var out *inode
	from, to := btrfs.Key{ObjectID: ino, Type: inodeItemKey}, btrfs.Key{ObjectID: ino, Type: extentDataKey, Offset: math.MaxUint64}
	err := t.Scan(t.id, from, to, 0, func(k btrfs.Key, data []byte) error {
		switch {
		case k.Type == inodeItemKey:
			item, err := parseInode(data)
			out = &inode{inodeItem: item, xattrs: map[string]string{}}
			out.uid, out.gid = t.ids(out.uid, false), t.ids(out.gid, true)
			return err
		case out == nil:
			return btrfs.ErrStop
		case k.Type == xattrItemKey:
			return parseDirItems(data, func(d dirItem) { out.xattrs[d.name] = d.value })
		case k.Type > xattrItemKey && out.typ() == unix.S_IFDIR:
			return btrfs.ErrStop // its entries
		case k.Type == extentDataKey:
			return out.add(k.Offset, data)
		}
		return nil
	})
	return out, err
}

// add adds a piece of the content: to the last one, where both are of one extent.
func (i *inode) add(start uint64, data []byte) error {
	e, written, err := parseExtent(start, data)
	if err != nil || !written || e.inline == "" && e.start >= i.size {
		return err
	}
	if e.inline == "" {
		e.end = min(e.end, i.size) // the rest of its last block
	}
	if n := len(i.extents); n > 0 {
		last := &i.extents[n-1]
		if last.end == e.start && last.base == e.base && last.compression == e.compression && last.inline == "" && e.inline == "" {
			last.end = e.end
			return nil
		}
	}
	i.extents = append(i.extents, e)
	return nil
}

// entries are those of a directory. Where a snapshot has an empty directory in
// place of a nested subvolume, there is none.
func (t *tree) entries(dir uint64) (map[string]target, error) {
	out := map[string]target{}
	from, to := btrfs.Key{ObjectID: dir, Type: dirIndexKey}, btrfs.Key{ObjectID: dir, Type: dirIndexKey, Offset: math.MaxUint64}
	err := t.Scan(t.id, from, to, 0, func(_ btrfs.Key, data []byte) error {
		return parseDirItems(data, func(d dirItem) {
			if d.kind != rootItemKey {
				out[d.name] = target{id: d.id}
			} else if _, there := t.nested[d.id]; there {
				out[d.name] = target{d.id, true}
			}
		})
	})
	return out, err
}

// links are the names of an inode, whether they are below the root or not.
func (t *tree) links(ino uint64) ([]link, error) {
	var out []link
	from, to := btrfs.Key{ObjectID: ino, Type: inodeRefKey}, btrfs.Key{ObjectID: ino, Type: inodeExtrefKey, Offset: math.MaxUint64}
	err := t.Scan(t.id, from, to, 0, func(k btrfs.Key, data []byte) error {
		return parseRefs(k.Type, k.Offset, data, func(l link) { out = append(out, l) })
	})
	return out, err
}

// dirPath is the path of a directory, with a slash at its end; "" when it is not
// below the root.
func (t *tree) dirPath(dir uint64) (string, error) {
	if dir == t.root {
		return t.prefix + "/", nil
	}
	if path, known := t.paths[dir]; known {
		return path, nil
	}
	t.paths[dir] = "" // also for a circle, which there cannot be
	if dir == firstFree {
		return "", nil
	}
	links, err := t.links(dir)
	if err != nil || len(links) != 1 {
		return "", err
	}
	path, err := t.dirPath(links[0].dir)
	if err == nil && path != "" {
		path += links[0].name + "/"
		t.paths[dir] = path
	}
	return path, err
}

// path is that of a name; "" when it is not below the root.
func (t *tree) path(l link) (string, error) {
	dir, err := t.dirPath(l.dir)
	if err != nil || dir == "" {
		return "", err
	}
	if l.name == "" {
		return t.rootPath(), nil
	}
	return dir + l.name, nil
}

// rootPath is the path of the root.
func (t *tree) rootPath() string { return cmp.Or(t.prefix, "/") }

// pathLinks are the names of an inode; of the root, one that nothing else has.
func (t *tree) pathLinks(ino uint64) ([]link, error) {
	if ino == t.root {
		return []link{{dir: t.root}}, nil
	}
	return t.links(ino)
}

// changed are the inodes in the leaves that were written since.
func (t *tree) changed(since uint64, into map[uint64]bool) error {
	from, to := btrfs.Key{ObjectID: firstFree}, btrfs.Key{ObjectID: lastFree}
	return t.Scan(t.id, from, to, since, func(k btrfs.Key, _ []byte) error {
		if k.Type == inodeItemKey {
			into[k.ObjectID] = true
		}
		return nil
	})
}

// errGone says that a subvolume was deleted while it was compared.
var errGone = errors.New("it was deleted meanwhile")

// gone makes a name of the error for a subvolume that is not there any more.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errGone, err)
	}
	return err
}
