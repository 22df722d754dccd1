package pool

import (
	"context"
	"errors"
	"slices"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// sending says how an instance is sent to another pool.
type sending struct {
	rec tree.Instance // what it is to be there
	// adapt changes what is recorded of the snapshots.
	adapt func(config map[string]string, devices map[string]map[string]string)
	// setup, if not nil, changes the volume before it is there.
	setup func(volume string) error
	// names are the snapshots that it is to have; of a refresh without snapshots those
	// that may be there.
	names []string
	// commit, if not nil, is called instead of the stage's.
	commit func(ctx context.Context, stage *tree.InstanceStage, rec tree.Instance) error
}

// snapshots names the snapshots of the source that are sent, oldest first.
func (c *instanceCopy) snapshots(o CopyOptions) []string {
	var names []string
	if !c.from.Snapshots && (!c.refreshes || c.from.Snapshot != "") {
		return nil
	}
	newest := -1
	for i, sn := range c.present.Snapshots {
		if newest < 0 || sn.CreatedAt.After(c.present.Snapshots[newest].CreatedAt) {
			newest = i
		}
	}
	for _, sn := range c.source.Snapshots {
		older := newest >= 0 && !c.mayHave(sn) && sn.CreatedAt.Before(c.present.Snapshots[newest].CreatedAt)
		if !o.RefreshExcludeOlder || !older {
			names = append(names, sn.Name)
		}
	}
	return names
}

// mayHave says whether the copy has a snapshot of that name, or one of that moment, which
// is that one before one of the two was renamed.
func (c *instanceCopy) mayHave(sn tree.Snapshot) bool {
	return slices.ContainsFunc(c.present.Snapshots, func(own tree.Snapshot) bool {
		return own.Name == sn.Name || own.CreatedAt.Equal(sn.CreatedAt)
	})
}

// send makes the instance, or a new state of the one that is there, in the other pool.
func (c *instanceCopy) send(ctx context.Context, o sending) (err error) {
	frozen, err := c.p.FreezeInstance(ctx, c.from, o.names, func(do func() error) error { return c.still(ctx, do) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	stage, err := c.stage(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Abort()) }()
	stage.KeepLimit = true
	watch := c.s.watchSpace(ctx, c.target.rec, "a copy of "+c.from.Ref())
	defer watch.stop()
	count := &counter{name: c.name, report: c.progress}
	if err := c.s.transfer(watch.ctx, c.target, frozen, &stage.OwnerStage, c.from, count); err != nil {
		return watch.cause(err)
	}
	if o.setup != nil {
		if err := o.setup(stage.Path()); err != nil {
			return err
		}
	}
	if err := stage.Sync(); err != nil {
		return err
	}
	if c.from.Snapshots {
		if o.rec.Snapshots, err = c.entries(o); err != nil {
			return err
		}
	}
	if o.commit != nil {
		return o.commit(ctx, stage, o.rec)
	}
	return stage.Commit(ctx, o.rec)
}

func (c *instanceCopy) stage(ctx context.Context) (*tree.InstanceStage, error) {
	if c.refreshes {
		return c.target.StageInstanceReplacement(ctx, c.name, !c.from.Snapshots)
	}
	return c.target.StageInstance(ctx, c.name)
}

// entries is what is recorded of the snapshots that are sent.
func (c *instanceCopy) entries(o sending) ([]tree.Snapshot, error) {
	all, err := c.p.SnapshotEntries(c.from.Name)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(sn tree.Snapshot) bool { return !slices.Contains(o.names, sn.Name) })
	for i := range all {
		if o.adapt != nil {
			o.adapt(all[i].Config, all[i].Devices)
			o.adapt(all[i].ExpandedConfig, all[i].ExpandedDevices)
		}
	}
	return all, nil
}

// transfer sends what is frozen in one pool into a stage in another, as far as that
// does not have it, and assembles it there.
func (s *System) transfer(ctx context.Context, target *openedPool, frozen *tree.Frozen, stage *tree.OwnerStage, from tree.Source, count *counter) error {
	if err := stage.Reuse(ctx, frozen); err != nil {
		return err
	}
	need, err := transferNeed(ctx, frozen, from)
	if err == nil {
		err = s.needSpace(ctx, target.rec, need)
	}
	if err != nil {
		return err
	}
	count.expect(need)
	for _, m := range frozen.Members() {
		if err := pipeMember(ctx, frozen, stage, m, count); err != nil {
			return err
		}
	}
	count.end()
	return stage.Assemble(ctx)
}

// transferNeed is what the versions take in another pool that it does not have: each
// extent once, as they are sent as what differs.
func transferNeed(ctx context.Context, frozen *tree.Frozen, from tree.Source) (spaceNeed, error) {
	if err := frozen.Sync(); err != nil { // what is not written yet has no extents
		return spaceNeed{}, err
	}
	var there, sent []string
	for _, v := range frozen.Versions {
		if v.Have {
			there = append(there, v.Path)
		} else {
			sent = append(sent, v.Path)
		}
	}
	total, err := btrfs.ReferencedBeyond(ctx, there, sent)
	if err != nil {
		return spaceNeed{}, err
	}
	return sentNeed(from.Ref(), len(frozen.Versions) > 1, total), nil
}
