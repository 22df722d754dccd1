package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"poolctl/pool/tree"
)

// usageObject is something that takes space, with the names that it can be called.
type usageObject struct {
	tree.Object
	aliases []string // of an image
}

// usageObjects lists what takes space in a pool.
func (p *openedPool) usageObjects() ([]usageObject, error) {
	found, err := p.Objects()
	if err != nil {
		return nil, err
	}
	out := make([]usageObject, 0, len(found))
	for _, ob := range found {
		if ob.Type == tree.TypeTrash {
			if i := slices.IndexFunc(out, func(u usageObject) bool { return u.Type == tree.TypeTrash }); i >= 0 {
				out[i].Subvolumes = append(out[i].Subvolumes, ob.Subvolumes...)
				continue
			}
			ob.Name = "" // all of it is one row
		}
		u := usageObject{Object: ob}
		if ob.Type == tree.TypeImage && tree.ValidateFingerprint(ob.Name) == nil {
			rec, err := p.Image(ob.Name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // still being imported by LXD, or deleted just now
				return nil, err
			}
			u.aliases = rec.Aliases
		}
		out = append(out, u)
	}
	return out, nil
}

// isSnapshotOf says whether a is a snapshot of b.
func isSnapshotOf(a, b tree.Object) bool {
	kind, ok := snapshotTypes[b.Type]
	return ok && a.Type == kind && strings.HasPrefix(a.Name, b.Name+"/")
}

// pickObjects are those that the user names, and the snapshots that go with them,
// in the order of all.
func pickObjects(all []usageObject, pool string, refs []string) ([]usageObject, error) {
	picked := make([]bool, len(all))
	for _, ref := range refs {
		i, err := findObject(all, ref)
		if errors.Is(err, ErrNotFound) {
			return nil, withHint(fmt.Errorf("cannot find %q in pool %s: %w", ref, pool, err), "poolctl pool usage %s shows what is in it; a custom volume is written volume/NAME", pool)
		} else if err != nil {
			return nil, err
		}
		for j, ob := range all {
			picked[j] = picked[j] || j == i || isSnapshotOf(ob.Object, all[i].Object)
		}
	}
	var out []usageObject
	for i, ob := range all {
		if picked[i] {
			out = append(out, ob)
		}
	}
	return out, nil
}

// findObject is the index of the object that ref names; ErrNotFound when none has
// that name. An instance comes before an image of the same name, which image/ before
// it means surely.
func findObject(all []usageObject, ref string) (int, error) {
	named := func(name string, kinds ...tree.ObjectType) int {
		return slices.IndexFunc(all, func(ob usageObject) bool { return ob.Name == name && slices.Contains(kinds, ob.Type) })
	}
	if name, ok := strings.CutPrefix(ref, "volume/"); ok {
		if i := named(name, tree.TypeVolume, tree.TypeVolumeSnapshot); i >= 0 {
			return i, nil
		}
	}
	image, onlyImage := strings.CutPrefix(ref, "image/")
	if i := named(ref, tree.TypeInstance, tree.TypeInstanceSnapshot); i >= 0 {
		return i, nil
	}
	if i := named(ref, tree.TypeMachine, tree.TypeMachineSnapshot); i >= 0 {
		return i, nil
	}
	var images []Image
	for _, ob := range all {
		if ob.Type == tree.TypeImage {
			images = append(images, publicImage(tree.ImageRecord{Fingerprint: ob.Name, Aliases: ob.aliases}, ""))
		}
	}
	im, err := pickImage(images, ref)
	if errors.Is(err, ErrNotFound) && onlyImage {
		im, err = pickImage(images, image)
	}
	if errors.Is(err, ErrNotFound) {
		return -1, ErrNotFound
	} else if err != nil {
		return -1, err
	}
	return named(im.Fingerprint, tree.TypeImage), nil
}
