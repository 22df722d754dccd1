package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
)

// DefaultProject is the project of LXD's and Incus's that this program's custom volumes are in.
const DefaultProject = "default"

// maxVolumeName is the longest name of a custom volume, in bytes: its files are called after it and the project.
const maxVolumeName = 200

// Volume is a custom storage volume.
type Volume struct {
	Name string
	// Project is "default", but in pools of LXD's and Incus's. Volumes of other projects are listed only.
	Project     string
	Description string
	Config      map[string]string
	CreatedAt   time.Time
	// Snapshots are those that exist, oldest first. They are not changed through this field.
	Snapshots []VolumeSnapshot
	// Broken says why the record cannot be read: then the description, the configuration and the expiries are not known.
	Broken error
}

// VolumeSnapshot is a snapshot of a custom volume.
type VolumeSnapshot struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Config      map[string]string `json:"config"`
	CreatedAt   time.Time         `json:"created_at"`
	ExpiresAt   time.Time         `json:"expires_at"` // zero: never
}

// ValidateVolumeName checks the name of a new custom volume: Incus's rules (not empty, no "/" and no "\"), printable, and
// short enough for a file's name. Spaces are allowed within. The error is ErrInvalidName and says what is wrong.
func ValidateVolumeName(name string) error {
	if err := checkPrintable(strings.ReplaceAll(name, " ", "_"), `/\`); err != nil {
		return err
	}
	switch {
	case len(name) > maxVolumeName:
		return fmt.Errorf("%w %q: it is longer than %d bytes", ErrInvalidName, name, maxVolumeName)
	case name == "." || name == "..":
		return fmt.Errorf("%w %q: it is reserved", ErrInvalidName, name)
	case strings.HasPrefix(name, "-"), strings.HasPrefix(name, " "):
		return fmt.Errorf("%w %q: it must not start with %q", ErrInvalidName, name, name[:1])
	case strings.HasSuffix(name, " "):
		return fmt.Errorf("%w %q: it must not end with a space", ErrInvalidName, name)
	}
	return nil
}

// volumeDir is what the directory of a custom volume of the default project is called.
func volumeDir(name string) string { return DefaultProject + "_" + name }

// checkVolume keeps a name that is looked up to one component.
func checkVolume(name string) error {
	return errors.Join(checkComponent(name), checkComponent(volumeDir(name)))
}

// VolumePath is the custom volume of that name, whether it exists or not.
func (t *Tree) VolumePath(name string) string { return t.pathIn(customs(), volumeDir(name)) }

// VolumeSnapshotPath is the volume of a snapshot of a custom volume; fs.ErrNotExist when there is none.
func (t *Tree) VolumeSnapshotPath(name, snap string) (string, error) {
	if err := errors.Join(checkVolume(name), checkComponent(snap)); err != nil {
		return "", err
	}
	path := filepath.Join(t.snapshotsIn(customs(), volumeDir(name)), snap)
	ok, err := isSubvolume(path)
	if err == nil && !ok {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return path, err
}

// Volumes lists the custom volumes of all projects, those of the default one first, sorted by name.
func (t *Tree) Volumes(ctx context.Context) ([]Volume, error) {
	names, err := readNames(filepath.Join(t.mnt, dirCustom))
	if err != nil {
		return nil, fmt.Errorf("cannot list the custom volumes: %w", err)
	}
	var all []Volume
	for _, dir := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := t.volumeAt(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no volume, or deleted just now
		} else if err != nil {
			return nil, fmt.Errorf("cannot list the custom volumes: %w", err)
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b Volume) int {
		foreign := func(v Volume) int {
			if v.Project == DefaultProject {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(foreign(a), foreign(b)), cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// Volume describes one custom volume; fs.ErrNotExist when there is none.
func (t *Tree) Volume(name string) (Volume, error) {
	if err := checkVolume(name); err != nil {
		return Volume{}, err
	}
	return t.volumeAt(volumeDir(name))
}

// volumeAt describes the custom volume in that directory. One that LXD made has no record: it has defaults then, and the
// dates of its subvolumes.
func (t *Tree) volumeAt(dir string) (Volume, error) {
	project, name, found := strings.Cut(dir, "_")
	path := t.pathIn(customs(), dir)
	ok, err := isSubvolume(path)
	if err == nil && (!ok || !found || name == "" || project == "" || isLeftover(dir)) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return Volume{}, err
	}
	v := Volume{Name: name, Project: project}
	rec, err := t.readVolumeRecord(dir)
	if err != nil {
		v.Broken = err
	}
	v.Description, v.Config, v.CreatedAt = rec.Description, rec.Config, rec.CreatedAt
	if v.CreatedAt.IsZero() {
		sub, err := btrfs.Stat(path)
		if err != nil {
			return Volume{}, err
		}
		v.CreatedAt = sub.CreatedAt.UTC()
	}
	v.Snapshots, err = t.volumeSnapshots(dir, rec.Snapshots)
	return v, err
}

// volumeSnapshots merges what is recorded of the snapshots of a custom volume with those that exist.
func (t *Tree) volumeSnapshots(dir string, recorded []VolumeSnapshot) ([]VolumeSnapshot, error) {
	where := t.snapshotsIn(customs(), dir)
	names, err := t.subvolumesIn(where)
	if err != nil {
		return nil, err
	}
	snaps := make([]VolumeSnapshot, 0, len(names))
	for _, n := range names {
		s := VolumeSnapshot{Name: n}
		if i := slices.IndexFunc(recorded, func(r VolumeSnapshot) bool { return r.Name == n }); i >= 0 {
			s = recorded[i]
		}
		fillMaps(&s.Config)
		if s.CreatedAt.IsZero() {
			sub, err := btrfs.Stat(filepath.Join(where, n))
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted just now
			} else if err != nil {
				return nil, err
			}
			s.CreatedAt = sub.CreatedAt.UTC()
		}
		snaps = append(snaps, s)
	}
	slices.SortFunc(snaps, func(a, b VolumeSnapshot) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Name, b.Name))
	})
	return snaps, nil
}
