package tree

import (
	"context"
	"errors"

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

// withHeadroom calls write, which writes into the volume at path. When that hits the volume's limit it does so again with the
// limit raised meanwhile. A process that is killed then leaves it raised, until the next KeepLimit.
func withHeadroom(path string, write func() error) error {
	err := write()
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	limits, lerr := limitsOf(path)
	if lerr != nil || len(limits) == 0 {
		return errors.Join(err, lerr)
	}
	for _, g := range limits {
		if lerr := btrfs.LimitQgroup(path, g.ID, max(g.MaxReferenced, g.Referenced)+headroom); lerr != nil {
			return errors.Join(err, lerr)
		}
	}
	crash.Point("tree.headroom.raised")
	err = write()
	for _, g := range limits {
		err = errors.Join(err, btrfs.LimitQgroup(path, g.ID, g.MaxReferenced))
	}
	return err
}

// deleteVolumes deletes the subvolume at path with those in it. Deleting one that is nested writes into the other.
func deleteVolumes(ctx context.Context, path string) error {
	err := btrfs.DeleteTree(ctx, path)
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	limits, lerr := limitsOf(path)
	for _, g := range limits {
		lerr = errors.Join(lerr, btrfs.LimitQgroup(path, g.ID, lifted))
	}
	if lerr != nil || len(limits) == 0 {
		return errors.Join(err, lerr)
	}
	return btrfs.DeleteTree(ctx, path)
}
