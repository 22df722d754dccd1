package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// ErrNoQuota says that no limit can be held: the pool's quotas are off.
var ErrNoQuota = errors.New("its quotas are off")

// OverLimitError says that a volume takes more than it is to be limited to, in bytes.
type OverLimitError struct {
	Limit, Used int64
}

func (e *OverLimitError) Error() string {
	return fmt.Sprintf("%d bytes are taken already, %d more than the limit", e.Used, e.Used-e.Limit)
}

// SetLimit limits what a volume, any subvolume that the pool's objects consist of, may reference together with the subvolumes
// nested in it: size bytes, data that it shares with its image or with others included, as Incus counts. 0 ends the limit.
// Writing more is EDQUOT inside. A limit below what is taken is refused (*OverLimitError), one where quotas are off as well
// (ErrNoQuota). It is not part of any record: whoever knows the size sets it again for a new subvolume.
//
// With full qgroups the kernel counts just that. The limit is on the subvolume's own qgroup, and only when others are nested
// in it on a qgroup of level 1 for all of them: the kernel cannot snapshot what is in one without counting the whole pool
// anew (measured on 6.18). Nested ones that are made later count from the next SetLimit or KeepLimit on.
//
// With simple quotas the kernel counts what was written in the volume, for as long as anyone has it, and not what it shares.
// So the limit on its qgroup of level 1, which nested subvolumes are put into by the kernel, is the size less what it
// references but did not write, plus what it wrote but only its snapshots reference. That is right for the moment, and
// KeepLimit makes it right again.
func (t *Tree) SetLimit(ctx context.Context, volume string, size int64) error {
	_, err := t.limit(ctx, volume, size, false)
	return err
}

// KeepLimit is SetLimit for a limit that was there before. When more is taken, as after a restore to a state that was larger,
// over is true, and nothing can be written until enough was deleted.
func (t *Tree) KeepLimit(ctx context.Context, volume string, size int64) (over bool, err error) {
	return t.limit(ctx, volume, size, true)
}

func (t *Tree) limit(ctx context.Context, volume string, size int64, force bool) (over bool, err error) {
	st, err := btrfs.Quota(t.mnt)
	if err == nil {
		switch {
		case size < 0:
			err = unix.EINVAL
		case st.Mode == btrfs.QuotaNone && size > 0:
			err = ErrNoQuota
		case st.Mode == btrfs.QuotaSimple:
			over, err = t.limitSimple(ctx, volume, uint64(size), force)
		case st.Mode == btrfs.QuotaFull:
			over, err = t.limitFull(ctx, volume, uint64(size), force)
		}
	}
	if err != nil {
		return over, fmt.Errorf("cannot limit %s: %w", volume, err)
	}
	return over, nil
}

// members are a volume's subvolume and those nested in it, as qgroups, and its group of level 1, which has the same number.
func members(volume string) (group btrfs.QgroupID, all []btrfs.QgroupID, err error) {
	own, err := btrfs.Stat(volume)
	if err != nil {
		return 0, nil, err
	}
	nested, err := btrfs.List(volume)
	if err != nil {
		return 0, nil, err
	}
	all = append(all, btrfs.MakeQgroupID(0, own.ID))
	for _, n := range nested {
		all = append(all, btrfs.MakeQgroupID(0, n.ID))
	}
	return btrfs.MakeQgroupID(1, own.ID), all, nil
}

func (t *Tree) limitSimple(ctx context.Context, volume string, size uint64, force bool) (over bool, err error) {
	group, all, err := members(volume)
	if err != nil {
		return false, err
	}
	if size == 0 {
		return false, t.dissolve(group)
	}
	if err := t.assemble(group, all); err != nil {
		return false, err
	}
	crash.Point("tree.limit.assembled")
	if err := btrfs.Sync(t.mnt); err != nil { // so that both numbers are of what is there
		return false, err
	}
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil {
		return false, err
	}
	written := groups[group].Referenced
	referenced, err := btrfs.Referenced(ctx, volume)
	if err != nil {
		return false, err
	}
	if over = referenced > size; over && !force {
		err := error(&OverLimitError{Limit: int64(size), Used: int64(referenced)})
		if groups[group].MaxReferenced == lifted {
			err = errors.Join(err, t.dissolve(group))
		}
		return true, err
	}
	return over, btrfs.LimitQgroup(t.mnt, group, mayWrite(size, written, referenced))
}

// mayWrite is the limit of what is written in a volume that is to reference size at most.
func mayWrite(size, written, referenced uint64) uint64 {
	return size + written - min(referenced, size+written)
}

func (t *Tree) limitFull(ctx context.Context, volume string, size uint64, force bool) (over bool, err error) {
	group, all, err := members(volume)
	if err != nil {
		return false, err
	}
	if size > 0 {
		if err := btrfs.Sync(t.mnt); err != nil {
			return false, err
		}
		referenced, err := btrfs.Referenced(ctx, volume)
		if err != nil {
			return false, err
		}
		if over = referenced > size; over && !force {
			return true, &OverLimitError{Limit: int64(size), Used: int64(referenced)}
		}
	}
	if err := t.holdFull(group, all, size); err != nil {
		return over, err
	}
	return over, t.countAnew(ctx)
}

// holdFull has full qgroups hold a limit, or none when size is 0.
func (t *Tree) holdFull(group btrfs.QgroupID, all []btrfs.QgroupID, size uint64) error {
	limit := size
	if size == 0 {
		limit = btrfs.NoLimit
	}
	if len(all) == 1 || size == 0 {
		if err := btrfs.LimitQgroup(t.mnt, all[0], limit); err != nil {
			return err
		}
		return t.dissolve(group)
	}
	if err := t.assemble(group, all); err != nil {
		return err
	}
	crash.Point("tree.limit.assembled")
	// The old limit stays until the new one is there.
	return errors.Join(btrfs.LimitQgroup(t.mnt, group, limit), btrfs.LimitQgroup(t.mnt, all[0], btrfs.NoLimit))
}

// countAnew has full qgroups counted where the kernel gave that up: it counts nothing until then, and so holds no limit.
func (t *Tree) countAnew(ctx context.Context) error {
	st, err := btrfs.Quota(t.mnt)
	if err != nil || !st.Inconsistent {
		return err
	}
	return btrfs.RescanQuota(ctx, t.mnt)
}

// assemble makes a group of level 1 of these qgroups and no others: who may make a subvolume may also say in which qgroups it
// is to be (BTRFS_SUBVOL_QGROUP_INHERIT, which asks for no privilege), in none of his own or in those of another instance. A
// new group has the limit lifted.
func (t *Tree) assemble(group btrfs.QgroupID, all []btrfs.QgroupID) error {
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil {
		return err
	}
	if _, there := groups[group]; !there {
		if err := btrfs.CreateQgroup(t.mnt, group); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// From here on PruneQgroups knows it.
		if err := btrfs.LimitQgroup(t.mnt, group, lifted); err != nil {
			return err
		}
	}
	in := map[btrfs.QgroupID]bool{}
	for _, c := range groups[group].Children {
		in[c] = true
	}
	for _, id := range groups[group].Children {
		if slices.Contains(all, id) {
			continue
		}
		if err := btrfs.UnassignQgroup(t.mnt, id, group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, id := range all {
		if in[id] {
			continue
		}
		err := btrfs.AssignQgroup(t.mnt, id, group)
		// ENOENT, EINVAL: a nested subvolume was deleted just now.
		if err != nil && !errors.Is(err, fs.ErrExist) && (id == all[0] || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EINVAL)) {
			return err
		}
	}
	return nil
}

// dissolve removes a group of level 1. What is not there is no error.
func (t *Tree) dissolve(group btrfs.QgroupID) error {
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil {
		return err
	}
	g, there := groups[group]
	if !there {
		return nil
	}
	for _, c := range g.Children {
		if err := btrfs.UnassignQgroup(t.mnt, c, group); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	crash.Point("tree.limit.emptied")
	if err := btrfs.DestroyQgroup(t.mnt, group); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Limit is what SetLimit limited a volume to, as the kernel holds it now: with simple quotas that is in bytes written, see
// there. 0 is no limit.
func (t *Tree) Limit(volume string) (int64, error) {
	own, err := btrfs.Stat(volume)
	if err != nil {
		return 0, err
	}
	limits, err := t.Limits()
	return limits[own.ID], err
}

// Limits are the limits of all volumes that have one, by the ids of their subvolumes.
func (t *Tree) Limits() (map[uint64]int64, error) {
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil {
		return nil, err
	}
	limits := map[uint64]int64{}
	for id, g := range groups {
		if id.Level() <= 1 && g.MaxReferenced < lifted {
			limits[id.Number()] = int64(g.MaxReferenced)
		}
	}
	return limits, nil
}

// PruneQgroups removes the qgroups of subvolumes that are gone. Those of level 0 the kernel keeps, before Linux 6.11 always and
// with simple quotas while others still have what was written in them. Those of level 1 are SetLimit's: one that stayed would
// limit the next subvolume of that id, since btrfs gives the ids above the highest out again after it was unmounted. It costs
// about a millisecond, and does nothing where quotas are off.
func (t *Tree) PruneQgroups() error {
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil || len(groups) == 0 {
		return err
	}
	st, err := btrfs.Quota(t.mnt)
	if err != nil {
		return err
	}
	live, err := btrfs.SubvolumeIDs(t.mnt)
	if err != nil {
		return err
	}
	last := uint64(0)
	for id := range live {
		last = max(last, id)
	}
	simple := st.Mode == btrfs.QuotaSimple
	var errs []error
	for id, g := range groups {
		switch number := id.Number(); {
		case number < subvolInode || live[number]:
		case id.Level() == 0:
			// Above the last one there may be one in the making.
			if number < last && (!simple || g.Referenced == 0) {
				errs = append(errs, ignoreBusy(btrfs.DestroyQgroup(t.mnt, id)))
			}
		case id.Level() == 1 && g.MaxReferenced != btrfs.NoLimit && !anyLive(g.Children, live):
			// Full qgroups would have to be counted anew; there the kernel empties it soon.
			if simple || len(g.Children) == 0 {
				errs = append(errs, ignoreBusy(t.dissolve(id)))
			}
		}
	}
	return errors.Join(errs...)
}

func anyLive(ids []btrfs.QgroupID, live map[uint64]bool) bool {
	for _, id := range ids {
		if live[id.Number()] {
			return true
		}
	}
	return false
}

// ignoreBusy forgives what another process removed, or what the kernel still counts something for.
func ignoreBusy(err error) error {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
