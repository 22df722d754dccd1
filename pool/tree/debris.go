package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Debris names what is the pool's, but nobody's: snapshots of what is gone, and what LXD or Incus left half made; paths in the
// pool, sorted. A command that deletes something may have such for a moment.
func (t *Tree) Debris() ([]string, error) {
	var out []string
	err := t.eachEntry(func(path string, whose belonging) error {
		if whose == debris {
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

// LostVolume is a custom volume of which only the record is there.
type LostVolume struct {
	Name string
	// Snapshots is how many of its snapshots there are, in SnapshotDir.
	Snapshots   int
	SnapshotDir string
}

// LostVolumes lists the records of custom volumes that are not there. A command that makes or deletes one may have such for a
// moment: its lock tells.
func (t *Tree) LostVolumes() ([]LostVolume, error) {
	names, err := readNames(t.volumeRecords())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the records of custom volumes: %w", err)
	}
	slices.Sort(names)
	var out []LostVolume
	for _, n := range names {
		dir, ok := strings.CutSuffix(n, ".json")
		name, own := strings.CutPrefix(dir, DefaultProject+"_")
		if !ok || !own || checkVolume(name) != nil {
			continue
		}
		if there, err := exists(t.VolumePath(name)); err != nil || there {
			if err != nil {
				return nil, fmt.Errorf("cannot list the records of custom volumes: %w", err)
			}
			continue
		}
		where := t.snapshotsIn(customs(), dir)
		snaps, err := t.subvolumesIn(where)
		if err != nil {
			return nil, fmt.Errorf("cannot list the records of custom volumes: %w", err)
		}
		out = append(out, LostVolume{Name: name, Snapshots: len(snaps), SnapshotDir: where})
	}
	return out, nil
}

// ForgetVolume removes the record of a custom volume that is not there. The caller has its lock.
func (t *Tree) ForgetVolume(name string) error {
	err := checkVolume(name)
	if err == nil {
		err = t.lockedVolumeRecords(func() error {
			if there, err := exists(t.VolumePath(name)); err != nil || there {
				return errors.Join(err, fs.ErrExist)
			}
			return os.Remove(t.volumeRecordPath(volumeDir(name)))
		})
	}
	if err != nil {
		return fmt.Errorf("cannot forget volume %s: %w", name, err)
	}
	return nil
}
