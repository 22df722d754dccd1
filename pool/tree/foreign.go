package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// belonging says whose an entry of the pool is.
type belonging int

const (
	// counted is what the lists of the package have: an image (also one whose import was killed), instance, virtual machine,
	// custom volume, or a snapshot of one; and what is below dirOwn.
	counted belonging = iota
	// debris is what is the pool's, but in no list: snapshots of what is gone, and what LXD or Incus left half made.
	debris
	// others is somebody's who put it into the pool, and buckets, of which poolctl knows nothing.
	others
)

// Foreign names what is in the pool and in none of the lists of its instances, virtual machines, custom volumes and images:
// paths in the pool, sorted, each the topmost that is nobody's. Empty directories of the layout are not among them.
func (t *Tree) Foreign() ([]string, error) {
	var out []string
	err := t.eachEntry(func(path string, whose belonging) error {
		if whose != counted {
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look through the pool: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

// eachEntry visits what is in the pool's directories and beside them, by its path in the pool: snapshots before what they
// are of, dirOwn at the end. The entry may be deleted by visit.
func (t *Tree) eachEntry(visit func(path string, whose belonging) error) error {
	for _, p := range [...]place{{volumes: dirContainers, snapshots: dirSnapshots}, {volumes: dirCustom, snapshots: dirCustomSnapshots}, {volumes: dirMachines, snapshots: dirMachineSnapshots}, {volumes: dirImages}, {volumes: dirBuckets}} {
		if p.snapshots != "" {
			if err := t.eachSnapshot(p, visit); err != nil {
				return err
			}
		}
		names, err := t.namesIn(p.volumes)
		if err != nil {
			return err
		}
		for _, n := range names {
			path := filepath.Join(p.volumes, n)
			whose, err := t.volumeBelongs(p.volumes, n)
			if err == nil {
				err = visit(path, whose)
			}
			if err != nil {
				return err
			}
		}
	}
	return t.eachAtTop(visit)
}

// eachAtTop visits what is in the pool's root and no directory of the layout, and then dirOwn.
func (t *Tree) eachAtTop(visit func(path string, whose belonging) error) error {
	names, err := readNames(t.mnt)
	if err != nil {
		return err
	}
	own := counted
	for _, n := range names {
		known := slices.ContainsFunc(layout(), func(d layoutDir) bool { return d.name == n })
		dir, err := isDirectory(filepath.Join(t.mnt, n))
		if err != nil {
			return err
		}
		if n == dirOwn && !dir {
			own = others
		}
		if n == dirOwn || known && dir {
			continue
		}
		if err := visit(n, others); err != nil {
			return err
		}
	}
	return visit(dirOwn, own)
}

// eachSnapshot visits the snapshots of the volumes of that place.
func (t *Tree) eachSnapshot(p place, visit func(path string, whose belonging) error) error {
	owners, err := t.namesIn(p.snapshots)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		dir := filepath.Join(p.snapshots, owner)
		plain, err := t.isPlain(dir)
		if err != nil {
			return err
		}
		if !plain {
			if err := visit(dir, others); err != nil {
				return err
			}
			continue
		}
		of, err := t.volumeBelongs(p.volumes, owner)
		if err != nil {
			return err
		}
		snaps, err := t.namesIn(dir)
		if err != nil {
			return err
		}
		for _, sn := range snaps {
			path := filepath.Join(dir, sn)
			whose := others
			if sub, err := isSubvolume(filepath.Join(t.mnt, path)); err != nil {
				return err
			} else if sub {
				whose = min(of, debris)
			}
			if err := visit(path, whose); err != nil {
				return err
			}
		}
	}
	return nil
}

// volumeBelongs says whose the entry of that name is among the volumes in dir.
func (t *Tree) volumeBelongs(dir, name string) (belonging, error) {
	sub, err := isSubvolume(filepath.Join(t.mnt, dir, name))
	if err != nil || !sub {
		return others, err
	}
	project, volume, found := strings.Cut(name, "_")
	switch {
	case dir == dirBuckets, strings.HasPrefix(name, "."):
		return others, nil
	case isLeftover(name):
		return debris, nil
	case dir == dirImages && !isFingerprint(name), dir == dirCustom && (!found || project == "" || volume == ""):
		return others, nil
	}
	return counted, nil
}

func isFingerprint(name string) bool { return ValidateFingerprint(name) == nil }

// namesIn lists a directory of the pool, sorted. One that is not there, or is no directory, is empty.
func (t *Tree) namesIn(dir string) ([]string, error) {
	path := filepath.Join(t.mnt, dir)
	if is, err := isDirectory(path); err != nil || !is {
		return nil, err
	}
	names, err := readNames(path)
	slices.Sort(names)
	return names, err
}

// isPlain says whether path, in the pool, is a directory and no subvolume.
func (t *Tree) isPlain(path string) (bool, error) {
	dir, err := isDirectory(filepath.Join(t.mnt, path))
	if err != nil || !dir {
		return false, err
	}
	sub, err := isSubvolume(filepath.Join(t.mnt, path))
	return !sub, err
}

// isDirectory says whether path is a directory, without following a symbolic link.
func isDirectory(path string) (bool, error) {
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}
