package pool

import (
	"context"
	"errors"

	"poolctl/btrfs"
	"poolctl/btrfs/extents"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// checkBeyondTrash refuses what certainly does not fit when all that is in the pool's trash
// is gone either. What the trash references is asked for first: the extents, which say how
// much of it nothing else has, are those of the whole file system, which a directory is in.
func (s *System) checkBeyondTrash(ctx context.Context, rec state.PoolRecord, plan SpacePlan) (err error) {
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	ids, err := trashSubvolumes(t)
	if err != nil || len(ids) == 0 {
		return err
	}
	most, err := btrfs.ReferencedByIDs(ctx, t.Path(), ids...)
	if err != nil {
		return err
	}
	plan.atMost = true
	if all := plan.withTrash(extents.Size{Data: most.Disk, Metadata: most.Trees}); all.beyondTrash() {
		return all.Err()
	}
	size, err := trashSize(ctx, t)
	if err != nil {
		return ctx.Err() // it may fit: what is written to all the time cannot be measured
	}
	plan.atMost = false
	if all := plan.withTrash(size); all.beyondTrash() {
		return all.Err()
	}
	return nil
}

// withTrash is the plan when what is in the pool's trash counts.
func (p SpacePlan) withTrash(size extents.Size) SpacePlan {
	p.Trash, p.trashTrees = int64(size.Total()), int64(size.Metadata) //nolint:gosec // no pool has 8 EiB
	p.Problem, p.Hint, p.Warning = "", "", ""
	p.judge()
	return p
}

// beyondTrash says whether it certainly does not fit when all that is in the pool's trash is
// gone either. What data takes there can become room for metadata and on the host, too.
func (p *SpacePlan) beyondTrash() bool {
	return p.Least+p.Reserved > p.PoolFree+p.Trash || p.Metadata > p.MetadataFree+p.Trash ||
		p.QuotaFree >= 0 && p.Least+p.Metadata > p.QuotaFree+p.Trash || p.HostPath != "" && p.HostGrowth > p.HostFree+p.Trash ||
		p.Size > 0 && p.Least > p.Size || p.TargetPath != "" && p.TargetSize > p.TargetFree
}

// trashSubvolumes are the ids of all subvolumes in a pool's trash.
func trashSubvolumes(t *tree.Tree) (ids []uint64, err error) {
	objects, err := t.Objects()
	for _, ob := range objects {
		if ob.Type == tree.TypeTrash {
			ids = append(ids, ob.Subvolumes...)
		}
	}
	return ids, err
}

// trashSize is what becomes free when all that is in a pool's trash is deleted.
func trashSize(ctx context.Context, t *tree.Tree) (extents.Size, error) {
	ids, err := trashSubvolumes(t)
	if err != nil || len(ids) == 0 {
		return extents.Size{}, err
	}
	sharing, err := extents.Read(ctx, t.Path(), extents.Options{})
	if err != nil {
		return extents.Size{}, err
	}
	usage, err := usageIn(sharing, ids)
	return usage.Exclusive, err
}
