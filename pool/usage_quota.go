package pool

import (
	"slices"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// quotaCount has the qgroups of a pool.
type quotaCount struct {
	status btrfs.QuotaStatus
	groups map[btrfs.QgroupID]btrfs.Qgroup
}

func countQuota(path string) (quotaCount, error) {
	status, err := btrfs.Quota(path)
	if err != nil || status.Mode == btrfs.QuotaNone {
		return quotaCount{status: status}, err
	}
	groups, err := btrfs.Qgroups(path)
	return quotaCount{status, groups}, err
}

// usageOf is what the qgroups know of an object.
func (q quotaCount) usageOf(ob usageObject) ObjectUsage {
	u := ObjectUsage{Type: string(ob.Type), Name: ob.Name, Aliases: ob.aliases, Subvolumes: ob.Subvolumes}
	switch {
	case q.status.Mode == btrfs.QuotaSimple:
		sum := uint64(0)
		for _, id := range ob.Subvolumes {
			sum += q.groups[btrfs.MakeQgroupID(0, id)].Referenced
		}
		u.Owned = &sum
	case q.status.Mode == btrfs.QuotaFull && !q.status.Inconsistent && !q.status.Rescanning:
		if g, ok := q.groupOf(ob.Subvolumes); ok {
			u.Referenced, u.Exclusive = &g.Referenced, &g.Exclusive
		}
	}
	return u
}

// groupOf is the qgroup that has just these subvolumes. Of several, the sum of
// their own would count twice what they share: then it is one of a higher level, if
// there is such a one.
func (q quotaCount) groupOf(subvolumes []uint64) (btrfs.Qgroup, bool) {
	if len(subvolumes) == 1 {
		g, ok := q.groups[btrfs.MakeQgroupID(0, subvolumes[0])]
		return g, ok
	}
	wanted := make([]btrfs.QgroupID, len(subvolumes))
	for i, id := range subvolumes {
		wanted[i] = btrfs.MakeQgroupID(0, id)
	}
	slices.Sort(wanted)
	for _, g := range q.groups {
		if g.ID.Level() > 0 && slices.Equal(g.Children, wanted) {
			return g, true
		}
	}
	return btrfs.Qgroup{}, false
}

// typeDeleted is what was written in subvolumes that are deleted, and still exists,
// since others share it.
const typeDeleted = "deleted"

// ofDeleted is that, in one, or nothing where nobody counts it. In a pool that is a
// part of a file system, whose they were is not known any more.
func (q quotaCount) ofDeleted(rec state.PoolRecord, all []usageObject) []ObjectUsage {
	if q.status.Mode != btrfs.QuotaSimple || rec.Kind == state.PoolDirectory {
		return nil
	}
	there := map[uint64]bool{}
	for _, ob := range all {
		for _, id := range ob.Subvolumes {
			there[id] = true
		}
	}
	u, sum := ObjectUsage{Type: typeDeleted}, uint64(0)
	for _, g := range q.groups {
		if id := g.ID.Number(); g.ID.Level() == 0 && !there[id] && g.Referenced > 0 {
			u.Subvolumes = append(u.Subvolumes, id)
			sum += g.Referenced
		}
	}
	if sum == 0 {
		return nil
	}
	slices.Sort(u.Subvolumes)
	u.Owned = &sum
	return []ObjectUsage{u}
}
