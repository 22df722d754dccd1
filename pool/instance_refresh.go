package pool

import (
	"context"
	"errors"
	"slices"
)

// refresh has the copy that is there become what the source is now, with its snapshots:
// content and snapshots as in Incus, while its configuration, its devices and what it is
// known by, hardware addresses, UUID and machine id, stay. Those of its own snapshots
// that the source does not have go. Without the source's snapshots, its own stay.
//
// The new state is complete before it takes the place of the old one, in one step.
func (c *instanceCopy) refresh(ctx context.Context, o CopyOptions) error {
	if c.present.Broken != nil {
		return c.present.Broken
	}
	if c.s.isRunning(c.name) {
		return withHint(errors.New("it is running"), "poolctl stop %s first", c.name)
	}
	if err := c.s.checkNoLook(c.name); err != nil {
		return err
	}
	rec := c.present
	as := identityOf(rec)
	limit, err := c.limit(ctx, rec)
	if err != nil {
		return err
	}
	rec.Limit, rec.Snapshots = limit, nil
	setup := func(volume string) error { return keepMachineID(c.target.InstancePath(c.name), volume) }
	if c.p != c.target {
		names, nerr := c.refreshed(o)
		if nerr != nil {
			return nerr
		}
		err = c.send(ctx, sending{rec: rec, adapt: c.adaptTo(as), setup: setup, names: names})
	} else if err = c.s.needSpace(ctx, c.p.rec, sharingNeed("a copy of "+c.from.Ref())); err == nil {
		options := c.treeOptions(as, setup)
		options.Only = c.snapshots(o)
		err = c.s.withRoom(ctx, c.p, "a copy of "+c.from.Ref(), func() error { return c.p.RefreshInstance(ctx, rec, options) })
	}
	c.s.afterDelete(ctx, c.target)
	return err
}

// refreshed names the snapshots that are sent to another pool or that may be there: of a
// snapshot itself and those before it, which it differs the least from.
func (c *instanceCopy) refreshed(o CopyOptions) ([]string, error) {
	if c.from.Snapshot == "" {
		return c.snapshots(o), nil
	}
	in, err := c.p.Instance(c.from.Name)
	return upTo(instanceSnapshotNames(in), c.from.Snapshot), err
}

// upTo is what names has up to name; nothing where it is not among them.
func upTo(names []string, name string) []string {
	return names[:slices.Index(names, name)+1]
}
