package tree

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// A volume that is full up to its limit must still be deleted, and its record written: neither is its guest's doing, and both
// take room in it. btrfs makes no exception for root.

// headroom is by how much a limit is raised for the writing of a record, in bytes: the file and the nodes of the trees that
// lead to it.
const headroom = 1 << 20

// lifted is the limit of a volume that is deleted: one that PruneQgroups still knows for SetLimit's, and that stops nothing.
const lifted = 1 << 62

// limitsOf are the qgroups that limit the volume at path.
func limitsOf(path string) ([]btrfs.Qgroup, error) {
	own, err := btrfs.Stat(path)
	if err != nil {
		return nil, err
	}
	groups, err := btrfs.Qgroups(path)
	if err != nil {
		return nil, err
	}
	var out []btrfs.Qgroup
	for _, id := range append(groups[btrfs.MakeQgroupID(0, own.ID)].Parents, btrfs.MakeQgroupID(0, own.ID)) {
		if g, there := groups[id]; there && g.MaxReferenced != btrfs.NoLimit {
			out = append(out, g)
		}
	}
	return out, nil
}

// limitQgroups sets limits that a volume at path is under. The ioctl's transaction is charged to the subvolume that it is called
// on, and one that is over its limit gets EDQUOT for that as well: so it is called on the directory the volume is in, which is
// of the pool's own subvolume.
func limitQgroups(path string, limits []btrfs.Qgroup, limit func(btrfs.Qgroup) uint64) error {
	var errs []error
	for _, g := range limits {
		errs = append(errs, btrfs.LimitQgroup(filepath.Dir(filepath.Clean(path)), g.ID, limit(g)))
	}
	return errors.Join(errs...)
}

// WithHeadroom calls write, which writes into an instance's volume what has to be written for it to be used, also when it is
// full: when that hits the volume's limit, write is called again with the limit raised by 1 MiB meanwhile.
func (t *Tree) WithHeadroom(name string, write func() error) error {
	if err := checkComponent(name); err != nil {
		return err
	}
	return withHeadroom(t.InstancePath(name), write)
}

// withHeadroom calls write, which writes into the volume at path. When that hits the volume's limit it does so again with the
// limit raised meanwhile. A process that is killed then leaves it raised, until the next KeepLimit.
func withHeadroom(path string, write func() error) error {
	err := write()
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	// The numbers that are read are those of the last commit.
	if lerr := btrfs.Sync(filepath.Dir(filepath.Clean(path))); lerr != nil {
		return errors.Join(err, lerr)
	}
	limits, lerr := limitsOf(path)
	if lerr != nil || len(limits) == 0 {
		return errors.Join(err, lerr)
	}
	raised := func(g btrfs.Qgroup) uint64 { return max(g.MaxReferenced, g.Referenced) + headroom }
	if lerr := limitQgroups(path, limits, raised); lerr != nil {
		err = errors.Join(err, lerr)
	} else {
		crash.Point("tree.headroom.raised")
		err = write()
	}
	return errors.Join(err, limitQgroups(path, limits, func(g btrfs.Qgroup) uint64 { return g.MaxReferenced }))
}

// deleteVolumes deletes the subvolume at path with those in it. Deleting one that is nested writes into the other.
func deleteVolumes(ctx context.Context, path string) error {
	err := btrfs.DeleteTree(ctx, path)
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	limits, lerr := limitsOf(path)
	lerr = errors.Join(lerr, limitQgroups(path, limits, func(btrfs.Qgroup) uint64 { return lifted }))
	if lerr != nil || len(limits) == 0 {
		return errors.Join(err, lerr)
	}
	return btrfs.DeleteTree(ctx, path)
}

// freezeVolumes makes the subvolume at path read-only with those in it. With full qgroups a copy of what is over its limit has
// that limit too, and to be made read-only is charged to it.
func freezeVolumes(ctx context.Context, path string) error {
	return withHeadroom(path, func() error { return btrfs.SetReadOnlyTree(ctx, path, true) })
}
