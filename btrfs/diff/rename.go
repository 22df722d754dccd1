package diff

import (
	"cmp"
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// moves collects the names that files had on the first side only, and those that
// they have on the second side only: of files that are the same on both sides, and
// of subvolumes.
type moves struct {
	left, came       map[uint64][]link
	subLeft, subCame map[uint64]link
}

// renames finds what was renamed, by the directories that changed and those that
// only one side has, and lists it.
func (p *pair) renames(dirs []uint64) error {
	m := moves{map[uint64][]link{}, map[uint64][]link{}, map[uint64]link{}, map[uint64]link{}}
	look := func(dir uint64) error {
		before, err := p.a.entries(dir)
		if err != nil {
			return err
		}
		after, err := p.b.entries(dir)
		if err != nil {
			return err
		}
		for name, old := range before {
			now, there := after[name]
			if kept, err := p.kept(old, now, there); err != nil {
				return err
			} else if !kept {
				if err := p.collect(p.a, link{dir, name}, old, m.left, m.subLeft); err != nil {
					return err
				}
			}
		}
		for name, now := range after {
			old, there := before[name]
			if kept, err := p.kept(old, now, there); err != nil {
				return err
			} else if !kept {
				if err := p.collect(p.b, link{dir, name}, now, m.came, m.subCame); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, dir := range dirs {
		if err := look(dir); err != nil {
			return err
		}
	}
	if p.a.root != p.b.root { // neither is reached from a directory that is the same
		for _, r := range []struct {
			t   *tree
			to  map[uint64][]link
			sub map[uint64]link
		}{{p.a, m.left, m.subLeft}, {p.b, m.came, m.subCame}} {
			if same, err := p.same(r.t.root); err != nil {
				return err
			} else if same {
				continue
			}
			if err := p.collectIn(r.t, r.t.root, r.to, r.sub); err != nil {
				return err
			}
		}
	}
	for ino, left := range m.left {
		if err := p.renamed(ino, left, m.came[ino]); err != nil {
			return err
		}
	}
	return p.renamedVolumes(m)
}

// kept says whether a name leads to the same on both sides.
func (p *pair) kept(old, now target, there bool) (bool, error) {
	if !there || old.sub || now.sub {
		return there && old.sub && now.sub, nil
	}
	if old.id != now.id {
		return false, nil
	}
	return p.same(old.id)
}

// collect notes a name that one side has; of a directory that only this side has,
// the names in it.
func (p *pair) collect(t *tree, l link, what target, into map[uint64][]link, subs map[uint64]link) error {
	if what.sub {
		subs[what.id] = l
		return nil
	}
	same, err := p.same(what.id)
	if err != nil {
		return err
	}
	if same {
		into[what.id] = append(into[what.id], l)
		return nil
	}
	item, err := t.item(what.id)
	if err != nil || item == nil || item.mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	return p.collectIn(t, what.id, into, subs)
}

func (p *pair) collectIn(t *tree, dir uint64, into map[uint64][]link, subs map[uint64]link) error {
	entries, err := t.entries(dir)
	if err != nil {
		return err
	}
	for name, what := range entries {
		if err := p.collect(t, link{dir, name}, what, into, subs); err != nil {
			return err
		}
	}
	return nil
}

// renamed lists a file that has lost names and got others. Of several names each
// becomes one, in their order; those that are left over were added or removed.
func (p *pair) renamed(ino uint64, left, came []link) error {
	byPath := func(t *tree, links []link) ([]string, error) {
		paths := map[link]string{}
		for _, l := range links {
			path, err := t.path(l)
			if err != nil {
				return nil, err
			}
			paths[l] = path
		}
		slices.SortFunc(links, func(a, b link) int { return cmp.Compare(paths[a], paths[b]) })
		out := make([]string, len(links))
		for i, l := range links {
			out[i] = paths[l]
		}
		return out, nil
	}
	before, err := byPath(p.a, left)
	if err != nil {
		return err
	}
	after, err := byPath(p.b, came)
	if err != nil {
		return err
	}
	n := min(len(left), len(came))
	if n == 0 {
		return nil
	}
	what, a, b, err := p.compareInodes(ino, ino, sameFile)
	if err != nil {
		return err
	}
	for i := range n {
		p.fromDone[left[i]], p.toDone[came[i]] = true, true
		p.add(Change{Path: after[i], From: before[i], Kind: Renamed, What: what, Before: a.state(), After: b.state()})
	}
	return nil
}

// renamedVolumes lists the nested subvolumes that were renamed, and what changed in
// them: of those that have an ancestor in common the pairs that parted last, as
// subvolumes can be snapshots of each other.
func (p *pair) renamedVolumes(m moves) error {
	type match struct{ x, y, parted uint64 }
	var all []match
	for x := range m.subLeft {
		for y := range m.subCame {
			if parted := p.origins.Parted(x, y); parted > 0 {
				all = append(all, match{x, y, parted})
			}
		}
	}
	slices.SortFunc(all, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.parted, a.parted), cmp.Compare(a.x, b.x), cmp.Compare(a.y, b.y))
	})
	for _, pick := range all {
		from, left := m.subLeft[pick.x]
		to, came := m.subCame[pick.y]
		if !left || !came || pick.parted == math.MaxUint64 {
			continue
		}
		delete(m.subLeft, pick.x)
		delete(m.subCame, pick.y)
		p.fromDone[from], p.toDone[to] = true, true
		before, err := p.a.path(from)
		if err != nil {
			return err
		}
		after, err := p.b.path(to)
		if err != nil {
			return err
		}
		root, err := p.a.inside(pick.x, before)
		if err != nil {
			return err
		}
		dir, err := root.read(firstFree)
		if err != nil || dir == nil {
			return err
		}
		p.add(Change{Path: after, From: before, Kind: Renamed, Before: dir.state(), After: dir.state()})
		if err := p.subvolumes(from, to, pick.x, pick.y); err != nil {
			return err
		}
	}
	return nil
}
