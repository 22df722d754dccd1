package tree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
)

// ObjectType is what an object is, in Incus's words for volumes.
type ObjectType string

// The types of objects, in the order of Objects.
const (
	TypeImage            ObjectType = "image"
	TypeInstance         ObjectType = "container"
	TypeInstanceSnapshot ObjectType = "container (snapshot)"
	TypeMachine          ObjectType = "virtual-machine"
	TypeMachineSnapshot  ObjectType = "virtual-machine (snapshot)"
	TypeVolume           ObjectType = "custom"
	TypeVolumeSnapshot   ObjectType = "custom (snapshot)"
	TypeTrash            ObjectType = "trash"     // what one deletion put there; the name is its id
	TypeSubvolume        ObjectType = "subvolume" // of nobody known: what is being made or deleted, or was put there
	TypeRecords          ObjectType = "pool"      // what is in the pool and in no subvolume: the records
)

// Object is something in the pool that takes space: one or more subvolumes.
type Object struct {
	Type ObjectType
	// Name is that of the volume, "NAME/SNAP" of a snapshot, the fingerprint of an image, and of TypeSubvolume the path in
	// the pool. Custom volumes of another project than the default one are called "PROJECT_NAME".
	Name string
	// Subvolumes are the ids: its own first, then those nested in it, and of an image that of its original files.
	Subvolumes []uint64
	CreatedAt  time.Time
}

// Objects lists everything in the pool that takes space, each subvolume in exactly one object: images, then volumes by
// name, each with its snapshots, the oldest first, after it. It reads no records, only the tree of subvolumes.
func (t *Tree) Objects() ([]Object, error) {
	top, err := btrfs.Stat(t.mnt)
	if err != nil {
		return nil, fmt.Errorf("cannot list what is in the pool: %w", err)
	}
	subs, err := btrfs.List(t.mnt)
	if err != nil {
		return nil, fmt.Errorf("cannot list what is in the pool: %w", err)
	}
	return objects(top.ID, subs), nil
}

// objects sorts out the subvolumes below the pool's, which has the id top. They are sorted by path: none comes before the
// one that it is nested in, but such as have no path, which cannot be the volume of an object.
func objects(top uint64, subs []btrfs.Subvolume) []Object {
	all := []Object{{Type: TypeRecords, Subvolumes: []uint64{top}}}
	owner := map[uint64]int{}
	slices.SortStableFunc(subs, func(a, b btrfs.Subvolume) int { return cmp.Compare(depth(a), depth(b)) })
	for _, s := range subs {
		if of, nested := owner[s.ParentID]; nested {
			all[of].Subvolumes = append(all[of].Subvolumes, s.ID)
			owner[s.ID] = of
			continue
		}
		kind, name := classify(s.Path)
		of := originalsOf(all, s.Path)
		if kind == TypeTrash {
			of = slices.IndexFunc(all, func(o Object) bool { return o.Type == TypeTrash && o.Name == name })
		}
		if of >= 0 {
			all[of].Subvolumes = append(all[of].Subvolumes, s.ID)
			owner[s.ID] = of
			continue
		}
		owner[s.ID] = len(all)
		all = append(all, Object{Type: kind, Name: name, Subvolumes: []uint64{s.ID}, CreatedAt: s.CreatedAt})
	}
	slices.SortStableFunc(all, compareObjects)
	return all
}

// originalsOf is the index of the image whose original files are in the subvolume at path, which is deeper than the image's;
// -1 when it is no such subvolume.
func originalsOf(all []Object, path string) int {
	fingerprint, found := strings.CutPrefix(path, dirOwn+"/"+dirOriginals+"/")
	if !found {
		return -1
	}
	return slices.IndexFunc(all, func(o Object) bool { return o.Type == TypeImage && o.Name == fingerprint })
}

// depth is how many names a path has; one that is too long for a path comes last.
func depth(s btrfs.Subvolume) int {
	if s.Path == "" {
		return 1 << 30
	}
	return strings.Count(s.Path, "/")
}

// classify tells what a subvolume is by its path in the pool.
func classify(path string) (ObjectType, string) {
	p := strings.Split(path, "/")
	kinds := map[string]ObjectType{dirImages: TypeImage, dirContainers: TypeInstance, dirMachines: TypeMachine, dirCustom: TypeVolume}
	snapshots := map[string]ObjectType{
		dirSnapshots: TypeInstanceSnapshot, dirMachineSnapshots: TypeMachineSnapshot, dirCustomSnapshots: TypeVolumeSnapshot,
	}
	kind, name := TypeSubvolume, path
	if k, ok := kinds[p[0]]; ok && len(p) == 2 {
		kind, name = k, p[1]
	} else if k, ok := snapshots[p[0]]; ok && len(p) == 3 {
		kind, name = k, p[1]+"/"+p[2]
	}
	if p[0] == dirOwn && len(p) > 3 && p[1] == dirTrash {
		kind, name = TypeTrash, p[2]
	}
	if kind == TypeVolume || kind == TypeVolumeSnapshot {
		name = strings.TrimPrefix(name, volumeDir(""))
	}
	return kind, name
}

// compareObjects puts images first, the volumes of one kind with their snapshots next, then the rest.
func compareObjects(a, b Object) int {
	rank := func(o Object) int {
		switch o.Type {
		case TypeImage:
			return 0
		case TypeInstance, TypeInstanceSnapshot:
			return 1
		case TypeMachine, TypeMachineSnapshot:
			return 2
		case TypeVolume, TypeVolumeSnapshot:
			return 3
		case TypeTrash:
			return 4
		case TypeSubvolume:
			return 5
		case TypeRecords:
		}
		return 6
	}
	volume := func(o Object) string { name, _, _ := strings.Cut(o.Name, "/"); return name }
	isSnapshot := func(o Object) int { return min(strings.Count(o.Name, "/"), 1) }
	if c := cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(volume(a), volume(b))); c != 0 || rank(a) >= 4 {
		return cmp.Or(c, cmp.Compare(a.Name, b.Name))
	}
	return cmp.Or(cmp.Compare(isSnapshot(a), isSnapshot(b)), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Name, b.Name))
}
