package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"poolctl/pool/tree"
)

// Copy makes a new instance of an instance, running or not, or of one of its
// snapshots, and returns its name. In the same pool it shares all data with its
// source and is made at once, whatever the size; to another pool it is sent. The
// copy of a running instance is what a power cut at that moment would leave. It has
// hardware addresses, a UUID and a machine id of its own.
func (s *System) Copy(ctx context.Context, o CopyOptions) (name string, err error) {
	if err := checkNew(o.Name, o.Config); err != nil {
		return "", err
	}
	c, err := s.openCopy(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return "", err
	}
	defer unlockProfiles()
	if c.refreshes {
		err = c.refresh(ctx, o)
	} else {
		err = c.make(ctx, o)
	}
	if err != nil {
		return "", s.hintFull(c.target.rec, fmt.Errorf("cannot copy %s to %s: %w", c.from.Ref(), c.name, err))
	}
	return c.name, nil
}

// instanceCopy is a copy, or a move to another pool, that is about to be made: the
// pools open, both instances locked.
type instanceCopy struct {
	s         *System
	p, target *openedPool
	from      tree.Source
	source    tree.Instance // its record, or the one that the snapshot has
	trash     bool          // of a move: snapshots are left out
	name      string
	// refreshes is set when there is an instance of that name, which is present.
	refreshes bool
	present   tree.Instance
	progress  func(Progress)
	close     func() error
}

// openCopy opens the pools of a copy and locks its instances. A name that is taken is
// refused, unless it is to be refreshed.
func (s *System) openCopy(ctx context.Context, o CopyOptions) (_ *instanceCopy, err error) {
	c := &instanceCopy{s: s, name: o.Name, progress: o.Progress, from: tree.Source{Name: o.Source, Snapshot: o.Snapshot, Snapshots: !o.InstanceOnly && o.Snapshot == ""}}
	if err := c.openPools(ctx, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.name == "" {
		if c.name, err = s.freeName(ctx, ""); err != nil {
			return nil, err
		}
	}
	unlock, err := s.lockNames(ctx, c.from.Name, c.name)
	if err != nil {
		return nil, err
	}
	closePools := c.close
	c.close = func() error { unlock(); return closePools() }
	if !c.refreshes {
		if err := s.takeName(ctx, c.name); err != nil {
			return nil, err
		}
	} else if c.present, err = c.target.Instance(c.name); err != nil {
		return nil, fmt.Errorf("cannot refresh %s: %w", c.name, err)
	}
	if c.source, err = c.p.copySource(c.from); err != nil {
		return nil, fmt.Errorf("cannot copy %s to %s: %w", c.from.Ref(), c.name, err)
	}
	return c, nil
}

// openPools opens the pool of the source and the one that the copy is made in, which
// may be the same.
func (c *instanceCopy) openPools(ctx context.Context, o CopyOptions) error {
	find := func(name string) (pool string, err error) {
		p, _, err := c.s.findInstance(ctx, name)
		if err != nil {
			return "", err
		}
		return p.rec.Name, p.close()
	}
	from, err := find(o.Source)
	if err != nil {
		return err
	}
	if o.Name == o.Source { // not even to be refreshed
		return fmt.Errorf("cannot copy %s to %s: %w", c.from.Ref(), o.Name, ErrExists)
	}
	to := o.Pool
	if to == "" {
		to = from
	}
	if o.Name != "" {
		there, err := find(o.Name)
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil && !o.Refresh:
			return fmt.Errorf("cannot create instance %s: %w", o.Name, ErrExists)
		case err == nil && o.Pool != "" && o.Pool != there:
			return fmt.Errorf("cannot refresh %s in pool %s: it is in pool %s", o.Name, o.Pool, there)
		case err == nil:
			to, c.refreshes = there, true
		}
	}
	c.p, c.target, c.close, err = c.s.openTwo(ctx, from, to)
	return err
}

// lockNames locks several instances, in the order of their names: whoever does
// so too never waits for one who waits for him.
func (s *System) lockNames(ctx context.Context, names ...string) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, u := range held {
			u()
		}
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		u, err := s.dir.LockInstance(ctx, n)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, u)
	}
	return unlock, nil
}

// copySource is the record of what is copied, under the caller's lock.
func (p *openedPool) copySource(o tree.Source) (rec tree.Instance, err error) {
	if rec, err = p.Instance(o.Name); errors.Is(err, fs.ErrNotExist) {
		return rec, fmt.Errorf("instance %q: %w", o.Name, ErrNotFound) // deleted while we waited
	}
	if err == nil && o.Snapshot != "" {
		rec, err = p.InstanceAt(o.Name, o.Snapshot)
		err = snapshotError(err, o.Name)
	}
	if err == nil {
		err = rec.Broken
	}
	return rec, err
}

// make makes a new instance.
func (c *instanceCopy) make(ctx context.Context, o CopyOptions) error {
	as := newIdentity()
	rec, err := c.copiedRecord(as, o)
	if err != nil {
		return err
	}
	if rec.Limit, err = c.limit(ctx, rec); err != nil {
		return err
	}
	setup := func(volume string) error { return renewMachineID(volume, newMachineID()) }
	if c.p != c.target {
		return c.send(ctx, sending{rec: rec, adapt: c.adaptTo(as), setup: setup, names: c.snapshots(o)})
	}
	if err := c.s.needSpace(ctx, c.p.rec, sharingNeed("a copy of "+c.from.Ref())); err != nil {
		return err
	}
	return c.s.withRoom(ctx, c.p, "a copy of "+c.from.Ref(), func() error { return c.p.CopyInstance(ctx, rec, c.treeOptions(as, setup)) })
}

// adaptTo gives the snapshots of a copy its identity and its pool.
func (c *instanceCopy) adaptTo(as *identity) func(config map[string]string, devices map[string]map[string]string) {
	return func(config map[string]string, devices map[string]map[string]string) {
		as.adapt(config, devices)
		c.repool(config, devices)
	}
}

// treeOptions say how a copy in the same pool is made.
func (c *instanceCopy) treeOptions(as *identity, setup func(volume string) error) tree.CopyOptions {
	return tree.CopyOptions{Source: c.from, Adapt: as.adapt, Setup: setup, Still: c.still}
}

// still calls do while the source, if it runs, is held.
func (c *instanceCopy) still(ctx context.Context, do func() error) error {
	if c.from.Snapshot != "" {
		return do()
	}
	return c.s.still(ctx, &lockedInstance{openedPool: c.p, rec: c.source}, do)
}

// limit is the limit of the copy, if it can be held.
func (c *instanceCopy) limit(ctx context.Context, rec tree.Instance) (int64, error) {
	size, err := rootSize(rec.ExpandedDevices)
	if err == nil && !c.s.canHold(ctx, c.target, c.name, size) {
		size = 0
	}
	return size, err
}
