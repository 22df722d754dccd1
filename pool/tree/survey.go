package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
)

const (
	dirMachines         = "virtual-machines"
	dirMachineSnapshots = "virtual-machines-snapshots"
	dirBuckets          = "buckets"
)

// Survey is what a pool holds besides its images, instances and custom volumes, as far as its directories tell.
type Survey struct {
	// Own says that poolctl has used the pool: its own directory is there.
	Own bool
	// Machines are LXD's or Incus's virtual machines, by the names of their directories: PROJECT_NAME, of the default
	// project NAME.
	Machines []Surveyed
	// Leftovers are the paths, in the pool, of what operations of LXD or Incus left that did not end.
	Leftovers []string
}

// Surveyed is a volume of which a pool itself keeps no record.
type Surveyed struct {
	Name      string
	CreatedAt time.Time // of its subvolume
	Snapshots []Snapshot
}

// CheckForeign checks that what is mounted, which anybody may have made, has the layout of a pool (containers, where every
// instance is, and images), and that no symbolic link stands in for one of the directories of it: the rest of the package
// follows none below a volume, but takes those directories for what they seem.
func (t *Tree) CheckForeign() error {
	for _, d := range []string{dirContainers, dirImages} {
		if there, err := exists(filepath.Join(t.mnt, d)); err != nil {
			return err
		} else if !there {
			return errors.New("its btrfs file system is no pool of poolctl, LXD or Incus: it has no directory " + d)
		}
	}
	for _, d := range []string{
		dirContainers, dirSnapshots, dirImages, dirCustom, dirCustomSnapshots, dirMachines, dirMachineSnapshots, dirBuckets,
		dirOwn, dirOwn + "/images", dirOwn + "/" + dirOriginals, dirOwn + "/" + dirVolumeRecords, dirOwn + "/staging", dirOwn + "/" + dirTrash,
	} {
		if err := t.checkDirectory(d); err != nil {
			return err
		}
	}
	for _, d := range []string{dirSnapshots, dirCustomSnapshots, dirMachineSnapshots} {
		names, err := readNames(filepath.Join(t.mnt, d))
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := t.checkDirectory(filepath.Join(d, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDirectory refuses what is there and is no directory.
func (t *Tree) checkDirectory(path string) error {
	info, err := os.Lstat(filepath.Join(t.mnt, path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("its btrfs file system is no pool of poolctl, LXD or Incus: %s is not a directory", path)
	}
	return err
}

// Survey looks at what has no records here.
func (t *Tree) Survey() (Survey, error) {
	var out Survey
	own, err := exists(filepath.Join(t.mnt, dirOwn))
	out.Own = own
	if err == nil {
		out.Machines, err = t.Machines()
	}
	if err == nil {
		out.Leftovers, err = t.leftovers()
	}
	if err != nil {
		return Survey{}, fmt.Errorf("cannot look through the pool: %w", err)
	}
	return out, nil
}

// Machines lists the virtual machines, as Survey does.
func (t *Tree) Machines() ([]Surveyed, error) { return t.surveyed(dirMachines, dirMachineSnapshots) }

func (t *Tree) surveyed(dir, snapshotsDir string) ([]Surveyed, error) {
	names, err := t.surveyedNames(dir)
	if err != nil {
		return nil, err
	}
	out := []Surveyed{}
	for _, name := range names {
		v := Surveyed{Name: name, CreatedAt: t.madeAt(filepath.Join(dir, name))}
		snaps, err := t.surveyedNames(filepath.Join(snapshotsDir, name))
		if err != nil {
			return nil, err
		}
		for _, s := range snaps {
			v.Snapshots = append(v.Snapshots, Snapshot{Name: s, CreatedAt: t.madeAt(filepath.Join(snapshotsDir, name, s)), Size: -1})
		}
		oldestFirst(v.Snapshots)
		out = append(out, v)
	}
	return out, nil
}

// surveyedNames names the subvolumes in a directory of the pool, sorted, without leftovers.
func (t *Tree) surveyedNames(dir string) ([]string, error) {
	names, err := readNames(filepath.Join(t.mnt, dir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		ok, err := isSubvolume(filepath.Join(t.mnt, dir, n))
		if err != nil {
			return nil, err
		}
		if ok && !isLeftover(n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// madeAt is when a subvolume was made; zero when it cannot be told.
func (t *Tree) madeAt(path string) time.Time {
	sub, err := btrfs.Stat(filepath.Join(t.mnt, path))
	if err != nil {
		return time.Time{}
	}
	return sub.CreatedAt
}

// leftovers finds what operations of LXD or Incus that were killed left, and images whose import was.
func (t *Tree) leftovers() ([]string, error) {
	var out []string
	for _, dir := range []string{dirContainers, dirImages, dirMachines, dirCustom} {
		names, err := readNames(filepath.Join(t.mnt, dir))
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			left := isLeftover(n)
			if dir == dirImages && !left && ValidateFingerprint(n) == nil {
				_, err := t.Image(n)
				left = err != nil && errors.Is(err, fs.ErrNotExist)
			}
			if left {
				out = append(out, filepath.Join(dir, n))
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// isLeftover knows the names that LXD and Incus give to what they are still making, or moved aside: no instance, image or
// volume has one.
func isLeftover(name string) bool {
	for _, suffix := range []string{".incustmp", ".lxdtmp", ".deleting"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return strings.HasPrefix(name, "migration.") || strings.HasPrefix(name, "backup.")
}
