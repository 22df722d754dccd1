package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/btrfs"
)

// mergeEntries is the list of the snapshots that exist, oldest first: as recorded, and where there is no entry, with the
// time at which the subvolume was made.
func (t *Tree) mergeEntries(name string, recorded []entry) ([]entry, error) {
	known := entriesByName(recorded)
	names, err := t.snapshotNames(name, known)
	if err != nil {
		return nil, err
	}
	return t.entriesNamed(name, names, recorded, known)
}

func (t *Tree) entriesNamed(name string, names []string, recorded []entry, known map[string]int) ([]entry, error) {
	snaps := make([]entry, 0, len(names))
	for _, n := range names {
		s := entry{Snapshot: Snapshot{Name: n, Size: -1}}
		if i, there := known[n]; there {
			s = recorded[i]
		}
		if s.CreatedAt.IsZero() {
			sub, err := btrfs.Stat(t.snapshotPath(name, n))
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted just now
			} else if err != nil {
				return nil, err
			}
			s.CreatedAt = sub.CreatedAt.UTC()
			s.changed = !s.brief
		}
		snaps = append(snaps, s)
	}
	sortEntries(snaps)
	return snaps, nil
}

// SnapshotEntries is what is recorded of the snapshots of an instance, oldest first; of those that are not recorded, what they
// say themselves.
func (t *Tree) SnapshotEntries(name string) ([]Snapshot, error) {
	rec, broken, err := t.readInstance(t.InstancePath(name), whole)
	if err = errors.Join(err, broken); err != nil {
		return nil, fmt.Errorf("cannot read instance %s: %w", name, err)
	}
	entries, err := t.listEntries(name, rec.entries)
	return asSnapshots(entries), err
}

// entriesByName are the places of entries by their names, of several the first.
func entriesByName(entries []entry) map[string]int {
	known := make(map[string]int, len(entries))
	for i := range entries {
		if _, there := known[entries[i].Name]; !there {
			known[entries[i].Name] = i
		}
	}
	return known
}

// snapshotNames names the snapshots of an instance that exist, unsorted. Of those that are recorded it is enough that they are
// directories.
func (t *Tree) snapshotNames(name string, recorded map[string]int) ([]string, error) {
	return t.subvolumesBut(t.snapshotDir(name), recorded)
}

// TakenSnapshotNames names what is in the directory of an instance's snapshots, unsorted: no new one can have such a name.
func (t *Tree) TakenSnapshotNames(name string) ([]string, error) {
	if err := checkComponent(name); err != nil {
		return nil, err
	}
	names, err := readNames(t.snapshotDir(name))
	if err != nil {
		return nil, fmt.Errorf("cannot list the snapshots of %s: %w", name, err)
	}
	return names, nil
}

// subvolumesIn names the subvolumes in a directory, unsorted; one that is not there is empty.
func (t *Tree) subvolumesIn(dir string) ([]string, error) { return t.subvolumesBut(dir, nil) }

// subvolumesBut is subvolumesIn that takes the directories of known names for subvolumes: to look at each takes some
// microseconds, and an instance may have a thousand.
func (t *Tree) subvolumesBut(dir string, known map[string]int) (names []string, err error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names = make([]string, 0, len(all))
	for _, e := range all {
		if !e.IsDir() {
			continue
		}
		n := e.Name()
		if _, ok := known[n]; !ok {
			if ok, err = isSubvolumeAt(f, n); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		}
		names = append(names, n)
	}
	return names, nil
}
