package tree

import (
	"context"
	"fmt"

	"poolctl/btrfs"
)

// recountSlack is how far a limit may be off with simple quotas, in bytes, before Recount makes it right. What is not
// committed yet makes the first look inexact.
const recountSlack = 1 << 20

// Wanted says what a volume is to be limited to. With lock it keeps others from changing that until unlock is called; ok is
// false when somebody else has the lock.
type Wanted func(lock bool) (size int64, unlock func(), ok bool, err error)

// Recount makes the limit of a volume that is in use right again, which has one now (see SetLimit): with simple quotas when
// what is in there but was not written in there has changed, or what was written but is not there any more, or subvolumes are
// not in the group where they belong; with full ones when subvolumes nested in it came or went, or the kernel gave up counting. That one may take long, and is not waited for.
//
// Nobody is kept out while it counts. When somebody else set the limit meanwhile, that is the better one.
func (t *Tree) Recount(ctx context.Context, volume string, wanted Wanted) error {
	st, err := btrfs.Quota(t.mnt)
	if err == nil {
		switch st.Mode {
		case btrfs.QuotaSimple:
			err = t.recountSimple(ctx, volume, wanted)
		case btrfs.QuotaFull:
			err = t.recountFull(volume, wanted)
		case btrfs.QuotaNone:
		}
	}
	if err != nil {
		return fmt.Errorf("cannot count %s anew: %w", volume, err)
	}
	return nil
}

func (t *Tree) recountSimple(ctx context.Context, volume string, wanted Wanted) error {
	size, _, ok, err := wanted(false)
	if err != nil || !ok || size <= 0 {
		return err
	}
	group, all, err := members(volume)
	if err != nil {
		return err
	}
	before, there, err := t.limitNow(group)
	if err != nil || !there {
		return err
	}
	if err := t.assemble(group, all); err != nil {
		return err
	}
	// At first as it is at the moment, which costs no commit.
	written, err := btrfs.LiveReferenced(t.mnt, group)
	if err != nil {
		return err
	}
	referenced, err := btrfs.Referenced(ctx, volume)
	if err != nil {
		return err
	}
	if near(mayWrite(uint64(size), written, referenced), before) {
		return nil
	}
	if err := btrfs.Sync(t.mnt); err != nil {
		return err
	}
	groups, err := btrfs.Qgroups(t.mnt)
	if err != nil {
		return err
	}
	if referenced, err = btrfs.Referenced(ctx, volume); err != nil {
		return err
	}
	size, unlock, ok, err := wanted(true)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	now, there, err := t.limitNow(group)
	if err != nil || !there || now != before || size <= 0 {
		return err
	}
	return btrfs.LimitQgroup(t.mnt, group, mayWrite(uint64(size), groups[group].Referenced, referenced))
}

func near(a, b uint64) bool { return max(a, b)-min(a, b) <= recountSlack }

// limitNow is the limit of a qgroup, and whether there is one.
func (t *Tree) limitNow(id btrfs.QgroupID) (limit uint64, there bool, err error) {
	groups, err := btrfs.Qgroups(t.mnt)
	g, there := groups[id]
	return g.MaxReferenced, there && g.MaxReferenced < lifted, err
}

func (t *Tree) recountFull(volume string, wanted Wanted) error {
	size, unlock, ok, err := wanted(true)
	if err != nil || !ok {
		return err
	}
	err = t.regroup(volume, uint64(max(size, 0)))
	unlock()
	if err != nil {
		return err
	}
	st, err := btrfs.Quota(t.mnt)
	if err != nil || !st.Inconsistent {
		return err
	}
	return btrfs.StartRescan(t.mnt)
}

// regroup has full qgroups hold the limit for the subvolumes that are nested in the volume now. One that has none is left
// without.
func (t *Tree) regroup(volume string, size uint64) error {
	group, all, err := members(volume)
	if err != nil || size == 0 {
		return err
	}
	_, grouped, err := t.limitNow(group)
	if err != nil {
		return err
	}
	_, alone, err := t.limitNow(all[0])
	if err != nil || !grouped && !alone {
		return err
	}
	return t.holdFull(group, all, size)
}
