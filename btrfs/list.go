package btrfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// List describes the subvolumes below path, at any depth, sorted by Path. path
// is a directory of a btrfs file system: the root of a subvolume, or any other
// (then subvolumes too deep below it for a path are left out).
// What is created or deleted meanwhile may or may not be listed.
func List(path string) ([]Subvolume, error) {
	f, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("cannot list subvolumes of %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	out, err := list(f)
	if err != nil {
		return nil, fmt.Errorf("cannot list subvolumes of %s: %w", path, err)
	}
	slices.SortFunc(out, func(a, b Subvolume) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

func list(f *os.File) ([]Subvolume, error) {
	id, err := rootID(f)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("it is not on btrfs: %w", err)
	} else if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	prefix, err := inodePath(f, id, st.Ino)
	if err != nil {
		return nil, err
	}
	s := newSearcher(f)
	// paths has the path of each subvolume that is listed, relative to f's
	// subvolume and ending in a slash; one that is too long is unnamed.
	paths := map[uint64]string{id: ""}
	const unnamed = "/"
	var out []Subvolume
	err = s.walk(id, func(sub Subvolume) (bool, error) {
		full, parent := unnamed, paths[sub.ParentID]
		dir, err := inodePath(f, sub.ParentID, sub.DirID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return false, nil // moved or deleted meanwhile
		case err != nil && !errors.Is(err, unix.ENAMETOOLONG):
			return false, err
		case err == nil && parent != unnamed && len(parent)+len(dir)+len(sub.Name) < unix.PathMax:
			full = parent + dir + sub.Name + "/"
		}
		if sub.ParentID == id && prefix != "" && !strings.HasPrefix(full, prefix) {
			return false, nil // elsewhere in f's subvolume
		}
		paths[sub.ID] = full
		sub.Path = strings.TrimSuffix(strings.TrimPrefix(full, prefix), "/")
		out = append(out, sub)
		return true, nil
	})
	return out, err
}

// walk calls fn with each subvolume nested in the one of that id, at any depth,
// each before those nested in it. Those are left out when fn returns false.
func (s *searcher) walk(id uint64, fn func(Subvolume) (bool, error)) error {
	for queue := []uint64{id}; len(queue) > 0; queue = queue[1:] {
		nested, err := s.children(queue[0])
		if err != nil {
			return err
		}
		for _, sub := range nested {
			descend, err := fn(sub)
			if err != nil {
				return err
			}
			if descend {
				queue = append(queue, sub.ID)
			}
		}
	}
	return nil
}

// children describes the subvolumes nested directly in the one of that id: the
// root references that the kernel keeps by parent (ROOT_REF items), so it costs
// nothing where there are none.
func (s *searcher) children(id uint64) ([]Subvolume, error) {
	var out []Subvolume
	err := s.items(rootTreeID, id, rootRefKey, func(child uint64, data []byte) error {
		dirID, name, err := parseRootRef(data)
		out = append(out, Subvolume{ID: child, ParentID: id, DirID: dirID, Name: name})
		return err
	})
	if err != nil {
		return nil, err
	}
	live := out[:0]
	for _, sub := range out {
		item, err := s.first(rootTreeID, sub.ID, rootItemKey)
		if err != nil {
			return nil, err
		}
		if item == nil {
			continue // deleted meanwhile
		}
		full, err := parseRootItem(item)
		if err != nil {
			return nil, err
		}
		full.ID, full.ParentID, full.DirID, full.Name = sub.ID, sub.ParentID, sub.DirID, sub.Name
		live = append(live, full)
	}
	return live, nil
}

// hasChildren says whether any subvolume is nested in the one of that id.
func (s *searcher) hasChildren(id uint64) (bool, error) {
	ref, err := s.first(rootTreeID, id, rootRefKey)
	return ref != nil, err
}
