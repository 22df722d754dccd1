package diff

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// Side is one of the two trees to compare.
type Side struct {
	// Volume is a subvolume that nobody writes to: a read-only one.
	Volume string
	// Dir is the directory in it that is compared, "" for all of it.
	Dir string
	// IDs, if not nil, is the user id, or group id, inside of one that is on disk.
	IDs func(id uint32, group bool) uint32
}

func (s Side) ids(id uint32, group bool) uint32 {
	if s.IDs == nil {
		return id
	}
	return s.IDs(id, group)
}

// Compare lists what differs between two trees, sorted by path. What a side has
// got, or has lost, is listed with all that is in it; a directory that was renamed
// is one entry, and what is in it is listed only where it changed besides. assumed is
// how many files were taken for the same by their sizes and times alone.
func Compare(ctx context.Context, from, to Side) (out []Change, assumed int, err error) {
	c, err := compare(ctx, from, to)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot compare %s with %s: %w", from.Volume, to.Volume, gone(err))
	}
	sortChanges(c.out)
	return c.out, c.assumed, nil
}

func compare(ctx context.Context, from, to Side) (*comparison, error) {
	a, err := openSide(from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Close() }()
	b, err := openSide(to)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	c := &comparison{ctx: ctx}
	if c.sameFS, err = sameMount(from.Volume, to.Volume); err != nil {
		return nil, err
	}
	if c.sameFS {
		if c.origins, err = a.Origins(); err != nil {
			return nil, err
		}
	}
	if err := c.volumes(a, b); err != nil {
		return nil, err
	}
	return c, nil
}

func openSide(s Side) (*tree, error) {
	trees, err := btrfs.OpenTrees(s.Volume)
	if err != nil {
		return nil, err
	}
	id, _, err := btrfs.RootOf(s.Volume)
	var in, root uint64
	if err == nil {
		in, root, err = btrfs.RootOf(filepath.Join(s.Volume, s.Dir))
	}
	if err == nil && in != id {
		err = fmt.Errorf("%s is in another subvolume", filepath.Join(s.Volume, s.Dir))
	}
	var t *tree
	if err == nil {
		t, err = newTree(trees, id, root, "", s.ids)
	}
	if err != nil {
		_ = trees.Close()
		return nil, err
	}
	return t, nil
}

// sameMount says whether two directories are on the same mount, and so on the same
// file system. On two mounts they can be too; but UUIDs do not tell, as those of
// copies are the same, and each subvolume has a device number of its own.
func sameMount(a, b string) (bool, error) {
	var one, other unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, a, 0, unix.STATX_MNT_ID, &one); err != nil {
		return false, err
	}
	if err := unix.Statx(unix.AT_FDCWD, b, 0, unix.STATX_MNT_ID, &other); err != nil {
		return false, err
	}
	return one.Mask&other.Mask&unix.STATX_MNT_ID != 0 && one.Mnt_id == other.Mnt_id, nil
}

// comparison is that of two trees with what is nested in them.
type comparison struct {
	ctx     context.Context
	sameFS  bool
	origins btrfs.Origins
	out     []Change
	assumed int
}

// pair are two subvolumes that are compared.
type pair struct {
	*comparison
	a, b  *tree
	since uint64 // the last transaction in which they were the same; 0: they never were
	known map[uint64]bool
	// Names that were looked at already, as what is found at them was renamed.
	fromDone, toDone map[link]bool
}

// volumes compares two subvolumes.
func (c *comparison) volumes(a, b *tree) error {
	p := &pair{comparison: c, a: a, b: b, known: map[uint64]bool{}, fromDone: map[link]bool{}, toDone: map[link]bool{}}
	if c.sameFS {
		p.since = c.origins.Parted(a.id, b.id)
	}
	if p.since == 0 {
		return p.both(a.root, b.root, b.rootPath(), p.otherFiles())
	}
	if p.since == math.MaxUint64 && a.root == b.root {
		return nil
	}
	return p.changes()
}

// otherFiles is how files are compared that were not one file once.
func (p *pair) otherFiles() how {
	switch {
	case !p.sameFS:
		return twoDisks
	case p.since == 0:
		return unrelated
	}
	return related
}

// changes compares what can have changed since the trees parted.
func (p *pair) changes() error {
	inodes := map[uint64]bool{}
	for _, t := range []*tree{p.a, p.b} {
		if err := t.changed(p.since, inodes); err != nil {
			return err
		}
		for _, sub := range t.nested {
			inodes[sub.DirID] = true // it may have changed inside
		}
	}
	var files, dirs []uint64
	for ino := range inodes {
		same, err := p.same(ino)
		if err != nil {
			return err
		}
		if !same {
			continue // found by its name
		}
		files = append(files, ino)
		item, err := p.b.item(ino)
		if err != nil {
			return err
		}
		if item != nil && item.mode&unix.S_IFMT == unix.S_IFDIR {
			dirs = append(dirs, ino)
		}
	}
	slices.Sort(files)
	slices.Sort(dirs)
	if err := p.renames(dirs); err != nil {
		return err
	}
	for _, ino := range files {
		if err := p.attributes(ino); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := p.entries(dir, dir); err != nil {
			return err
		}
	}
	if p.a.root != p.b.root {
		return p.both(p.a.root, p.b.root, p.b.rootPath(), related)
	}
	return nil
}

// same says whether an inode is the same file in both trees: it was there when
// they parted. Of two that were made later under one number, in either tree, the
// generation says so. A directory that is below the root on one side only is not.
func (p *pair) same(ino uint64) (bool, error) {
	if p.since == 0 {
		return false, nil
	}
	if same, known := p.known[ino]; known {
		return same, nil
	}
	if err := p.ctx.Err(); err != nil {
		return false, err
	}
	a, err := p.a.item(ino)
	if err != nil {
		return false, err
	}
	b, err := p.b.item(ino)
	if err != nil {
		return false, err
	}
	same := a != nil && b != nil && a.generation == b.generation && a.generation <= p.since
	if same && a.mode&unix.S_IFMT == unix.S_IFDIR {
		before, err := p.a.dirPath(ino)
		if err != nil {
			return false, err
		}
		after, err := p.b.dirPath(ino)
		if err != nil {
			return false, err
		}
		same = before != "" && after != "" && (ino != p.a.root) == (ino != p.b.root)
	}
	p.known[ino] = same
	return same, nil
}

// attributes compares a file that is the same on both sides, under its names that
// were not renamed.
func (p *pair) attributes(ino uint64) error {
	what, a, b, err := p.compareInodes(ino, ino, sameFile)
	if err != nil || len(what) == 0 {
		return err
	}
	before, err := p.a.pathLinks(ino)
	if err != nil {
		return err
	}
	after, err := p.b.pathLinks(ino)
	if err != nil {
		return err
	}
	for _, l := range after {
		if p.toDone[l] || !slices.Contains(before, l) {
			continue // it is in the entry of that
		}
		path, err := p.b.path(l)
		if err != nil {
			return err
		}
		if path != "" {
			p.add(Change{Path: path, Kind: kindOf(what), What: what, Before: a.state(), After: b.state()})
		}
	}
	return nil
}

func (p *pair) compareInodes(x, y uint64, by how) (what []Aspect, a, b *inode, err error) {
	if a, err = p.a.read(x); err != nil {
		return nil, nil, nil, err
	}
	if b, err = p.b.read(y); err != nil {
		return nil, nil, nil, err
	}
	if a == nil || b == nil {
		return nil, nil, nil, fmt.Errorf("inodes %d and %d: %w", x, y, unix.ENOENT)
	}
	what, assumed := differs(a, b, by)
	if assumed {
		p.assumed++
	}
	return what, a, b, nil
}

// entries compares those of two directories, by their names. What is the same file
// under both was compared already, and so was what was renamed.
func (p *pair) entries(x, y uint64) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	before, err := p.a.entries(x)
	if err != nil {
		return err
	}
	after, err := p.b.entries(y)
	if err != nil {
		return err
	}
	for name, old := range before {
		now, there := after[name]
		there = there && !p.toDone[link{y, name}]
		if p.fromDone[link{x, name}] {
			continue
		}
		if there {
			err = p.entry(link{x, name}, link{y, name}, old, now)
		} else {
			err = p.gone(link{x, name}, old)
		}
		if err != nil {
			return err
		}
	}
	for name, now := range after {
		_, there := before[name]
		if p.toDone[link{y, name}] || there && !p.fromDone[link{x, name}] {
			continue
		}
		if err := p.came(link{y, name}, now); err != nil {
			return err
		}
	}
	return nil
}

// entry compares what has a name in both of two directories.
func (p *pair) entry(from, to link, old, now target) error {
	switch {
	case old.sub && now.sub:
		return p.subvolumes(from, to, old.id, now.id)
	case old.sub != now.sub: // a directory became a subvolume, or the reverse
		if err := p.gone(from, old); err != nil {
			return err
		}
		return p.came(to, now)
	}
	if old.id == now.id {
		if same, err := p.same(old.id); err != nil || same {
			return err
		}
	}
	path, err := p.b.path(to)
	if err != nil {
		return err
	}
	return p.both(old.id, now.id, path, p.otherFiles())
}

// both compares two files of the same path, and what is in them.
func (p *pair) both(x, y uint64, path string, by how) error {
	what, a, b, err := p.compareInodes(x, y, by)
	if err != nil {
		return err
	}
	if len(what) > 0 {
		p.add(Change{Path: path, Kind: kindOf(what), What: what, Before: a.state(), After: b.state()})
	}
	dirA, dirB := a.typ() == unix.S_IFDIR, b.typ() == unix.S_IFDIR
	switch {
	case dirA && dirB:
		return p.entries(x, y)
	case dirA:
		return p.allGone(x)
	case dirB:
		return p.allCame(y)
	}
	return nil
}

func (c *comparison) add(change Change) { c.out = append(c.out, change) }
