package diff

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// gone lists what only the first side has, with all that is in it.
func (p *pair) gone(l link, what target) error {
	path, err := p.a.path(l)
	if err != nil {
		return err
	}
	if what.sub {
		t, err := p.a.inside(what.id, path)
		if err != nil {
			return err
		}
		return p.with(t, nil).oneSided(t, t.root, path, Removed)
	}
	return p.oneSided(p.a, what.id, path, Removed)
}

// came lists what only the second side has.
func (p *pair) came(l link, what target) error {
	path, err := p.b.path(l)
	if err != nil {
		return err
	}
	if what.sub {
		t, err := p.b.inside(what.id, path)
		if err != nil {
			return err
		}
		return p.with(nil, t).oneSided(t, t.root, path, Added)
	}
	return p.oneSided(p.b, what.id, path, Added)
}

// with is a pair of which one side is a subvolume that the other does not have.
func (p *pair) with(a, b *tree) *pair {
	return &pair{comparison: p.comparison, a: a, b: b, known: map[uint64]bool{}, fromDone: map[link]bool{}, toDone: map[link]bool{}}
}

// oneSided lists a file of one side, and what is in it.
func (p *pair) oneSided(t *tree, ino uint64, path string, kind Kind) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	file, err := t.read(ino)
	if err != nil {
		return err
	}
	if file == nil {
		return errors.New("an entry has no inode: " + path)
	}
	change := Change{Path: path, Kind: kind}
	if kind == Added {
		change.After = file.state()
	} else {
		change.Before = file.state()
	}
	p.add(change)
	if file.typ() != unix.S_IFDIR {
		return nil
	}
	if kind == Added {
		return p.allCame(ino)
	}
	return p.allGone(ino)
}

// allGone lists what is in a directory of the first side, but what was renamed.
func (p *pair) allGone(dir uint64) error {
	entries, err := p.a.entries(dir)
	if err != nil {
		return err
	}
	for name, what := range entries {
		if l := (link{dir, name}); !p.fromDone[l] {
			if err := p.gone(l, what); err != nil {
				return err
			}
		}
	}
	return nil
}

// allCame lists what is in a directory of the second side, but what was renamed.
func (p *pair) allCame(dir uint64) error {
	entries, err := p.b.entries(dir)
	if err != nil {
		return err
	}
	for name, what := range entries {
		if l := (link{dir, name}); !p.toDone[l] {
			if err := p.came(l, what); err != nil {
				return err
			}
		}
	}
	return nil
}

// inside is the tree of a subvolume that is nested in this one, at that path.
func (t *tree) inside(id uint64, path string) (*tree, error) {
	return newTree(t.Trees, id, firstFree, strings.TrimSuffix(path, "/"), t.ids)
}

// subvolumes compares two that are nested.
func (p *pair) subvolumes(from, to link, x, y uint64) error {
	before, err := p.a.path(from)
	if err != nil {
		return err
	}
	after, err := p.b.path(to)
	if err != nil {
		return err
	}
	a, err := p.a.inside(x, before)
	if err != nil {
		return err
	}
	b, err := p.b.inside(y, after)
	if err != nil {
		return err
	}
	return p.volumes(a, b)
}
