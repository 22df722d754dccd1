package tree

import "path/filepath"

// place is where the volumes of one kind are, and their snapshots.
type place struct {
	// prefix begins the name that such a volume has in the journal entry of its creation or deletion: see ownerName.
	prefix string
	// volumes and snapshots are directories of the pool.
	volumes, snapshots string
}

// instances is the place of the instances.
func instances() place { return place{"owner-", dirContainers, dirSnapshots} }

// customs is the place of the custom volumes.
func customs() place { return place{"custom-", dirCustom, dirCustomSnapshots} }

func places() []place { return []place{instances(), customs()} }

// pathIn is the volume of that directory's name.
func (t *Tree) pathIn(p place, name string) string { return filepath.Join(t.mnt, p.volumes, name) }

// snapshotsIn is the directory of the snapshots of the volume of that name.
func (t *Tree) snapshotsIn(p place, name string) string {
	return filepath.Join(t.mnt, p.snapshots, name)
}
