package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// CopyVolume makes a custom volume of another one, in use or not, or of one of
// its snapshots. In the same pool it shares all data with its source and is made
// at once; to another pool everything is sent.
func (s *System) CopyVolume(ctx context.Context, o CopyVolumeOptions) error {
	if err := s.copyVolume(ctx, o, false, nil); err != nil {
		return fmt.Errorf("cannot copy volume %s: %w", o.ref(), err)
	}
	return nil
}

// ref is what is copied, as the user writes it.
func (o CopyVolumeOptions) ref() string {
	return o.Pool + "/" + tree.Source{Name: customName(o.Volume), Snapshot: o.Snapshot}.Ref()
}

// copyVolume copies to a new name or, with refresh, to one that is taken. received, if
// not nil, is told where all of a copy to another pool is, before it can be seen.
func (s *System) copyVolume(ctx context.Context, o CopyVolumeOptions, refresh bool, received func(path string) error) (err error) {
	c, err := s.openVolumeCopy(ctx, o, refresh)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if c.p == c.target {
		if err := s.needSpace(ctx, c.target.rec, sharingNeed("a copy of volume "+c.from.Ref())); err != nil {
			return err
		}
	}
	setup := func(path string) error { return s.limitVolume(ctx, c.target, c.v.Name, path, c.v.Config, true) }
	switch {
	case c.p == c.target && refresh:
		err = c.p.RefreshVolume(ctx, c.v, c.from, setup)
	case c.p == c.target:
		err = c.p.CopyVolume(ctx, c.v, c.from, setup)
	default:
		err = s.sendVolume(ctx, c, setup, received, o.Progress, refresh)
	}
	return s.hintFull(c.target.rec, err)
}

// volumeCopy is a copy that is about to be made: the pools open, both volumes
// locked, and everything checked.
type volumeCopy struct {
	p, target *openedPool
	from      tree.Source
	v         tree.Volume // the record of the copy
	names     []string    // of the snapshots that are sent, or that may be there already
	close     func() error
}

func (s *System) openVolumeCopy(ctx context.Context, o CopyVolumeOptions, refresh bool) (c volumeCopy, err error) {
	c.from = tree.Source{Name: customName(o.Volume), Snapshot: o.Snapshot, Snapshots: !o.VolumeOnly && o.Snapshot == ""}
	if o.Name = customName(o.Name); o.Pool == o.ToPool && c.from.Name == o.Name {
		return c, fmt.Errorf("volume %s in pool %s: %w", o.Name, o.ToPool, ErrExists)
	}
	if err := tree.ValidateVolumeName(o.Name); err != nil {
		return c, err
	}
	if c.p, c.target, c.close, err = s.openTwo(ctx, o.Pool, o.ToPool); err != nil {
		return c, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if _, err := c.p.Volume(c.from.Name); err != nil { // before locks of these names are made
		return c, volumeError(err, o.Pool, c.from.Name)
	}
	unlock, err := s.lockVolumePair(ctx, o.Pool, c.from.Name, o.ToPool, o.Name)
	if err != nil {
		return c, err
	}
	closePools := c.close
	c.close = func() error { unlock(); return closePools() }
	old, err := c.target.Volume(o.Name)
	if refresh && err == nil {
		err = errors.Join(old.Broken, s.checkNotRunning(ctx, o.ToPool, o.Name))
	} else if err == nil {
		err = fmt.Errorf("volume %s in pool %s: %w", o.Name, o.ToPool, ErrExists)
	} else if !refresh && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return c, volumeError(err, o.ToPool, o.Name)
	}
	c.v, err = copiedVolume(c.p, c.from, o)
	c.names = snapshotNames(c.v)
	if err == nil && refresh && !c.from.Snapshots {
		if c.names, err = sourceSnapshots(c.p, c.from.Name); c.from.Snapshot != "" {
			c.names = upTo(c.names, c.from.Snapshot)
		}
	}
	if err == nil && refresh {
		c.v.Config, c.v.Description, c.v.CreatedAt = maps.Clone(old.Config), old.Description, old.CreatedAt
	}
	return c, err
}

// sourceSnapshots names the snapshots of a volume.
func sourceSnapshots(p *openedPool, name string) ([]string, error) {
	v, err := p.Volume(name)
	return snapshotNames(v), err
}

// openTwo opens two pools, which may be one. Those that open two do so in the
// same order: whoever waits for one holds none that comes later.
func (s *System) openTwo(ctx context.Context, a, b string) (pa, pb *openedPool, closeAll func() error, err error) {
	names := []string{a, b}
	slices.Sort(names)
	opened := map[string]*openedPool{}
	closeAll = func() error {
		var errs []error
		for _, p := range opened {
			errs = append(errs, p.close())
		}
		return errors.Join(errs...)
	}
	for _, n := range slices.Compact(names) {
		p, err := s.openPool(ctx, n)
		if err != nil {
			return nil, nil, nil, errors.Join(err, closeAll())
		}
		opened[n] = p
	}
	return opened[a], opened[b], closeAll, nil
}

// copiedVolume is the record of the copy: the source's with an identity of its
// own, and the source's snapshots if they are taken along.
func copiedVolume(p *openedPool, from tree.Source, o CopyVolumeOptions) (tree.Volume, error) {
	source, err := p.Volume(from.Name)
	if err == nil {
		err = source.Broken
	}
	if err != nil {
		return tree.Volume{}, volumeError(err, o.Pool, from.Name)
	}
	v := tree.Volume{Name: o.Name, Description: source.Description, Config: maps.Clone(source.Config), CreatedAt: time.Now().UTC()}
	if from.Snapshot != "" {
		i := slices.IndexFunc(source.Snapshots, func(sn tree.VolumeSnapshot) bool { return sn.Name == from.Snapshot })
		if i < 0 {
			return v, withHint(fmt.Errorf("snapshot %q: %w", from.Snapshot, ErrNotFound), "poolctl pool volume snapshot list %s %s shows them", o.Pool, from.Name)
		}
		if c := source.Snapshots[i].Config; len(c) > 0 {
			v.Config = maps.Clone(c)
		}
	}
	if from.Snapshots {
		now := time.Now()
		v.Snapshots = slices.DeleteFunc(slices.Clone(source.Snapshots), func(sn tree.VolumeSnapshot) bool { return isExpired(sn, now) })
	}
	v.Config[volatileUUID] = newUUID()
	return v, nil
}

// sendVolume makes the copy in another pool.
func (s *System) sendVolume(ctx context.Context, c volumeCopy, setup, received func(path string) error, progress func(Progress), refresh bool) (err error) {
	frozen, err := c.p.FreezeVolume(ctx, c.from, c.names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	var stage *tree.VolumeStage
	if refresh {
		stage, err = c.target.StageReplacement(ctx, c.v.Name, !c.from.Snapshots)
	} else {
		stage, err = c.target.StageVolume(ctx, c.v.Name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Abort()) }()
	count := &counter{name: c.v.Name, report: progress}
	source := c.from
	source.Name = "volume " + source.Name
	if err := s.transfer(ctx, c.target, frozen, &stage.OwnerStage, source, count); err != nil {
		return err
	}
	if err := setup(stage.Path()); err != nil {
		return err
	}
	if err := stage.Sync(); err != nil {
		return err
	}
	if received != nil {
		if err := received(stage.Path()); err != nil {
			return err
		}
	}
	return stage.Commit(ctx, c.v)
}

// pipeMember sends one subvolume from here to there.
func pipeMember(ctx context.Context, frozen *tree.Frozen, stage *tree.OwnerStage, m tree.Member, count *counter) error {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := frozen.Send(ctx, m, io.MultiWriter(w, count))
		sent <- err
		_ = w.CloseWithError(err) // never fails
	}()
	err := stage.Receive(ctx, m, r)
	_ = r.CloseWithError(errors.New("the other end has ended")) // never fails
	if serr := <-sent; serr != nil && (err == nil || ctx.Err() == nil && !errors.Is(err, serr)) {
		return errors.Join(err, serr)
	}
	return err
}

// counter reports how much was written to it.
type counter struct {
	name  string
	done  int64
	total int64 // 0 = unknown
	// estimated is set where total is about what it will be: it is never reached before
	// end.
	estimated bool
	report    func(Progress)
}

// expect has a counter report about how much of what is sent there is.
func (c *counter) expect(need spaceNeed) {
	c.total, c.estimated = max(need.most, need.least)+need.trees, true
}

func (c *counter) Write(b []byte) (int, error) {
	c.reach(c.done + int64(len(b)))
	return len(b), nil
}

// reach reports that so much is written.
func (c *counter) reach(done int64) {
	c.done = done
	total := c.total
	if c.estimated {
		total = max(total, c.done+c.done/64+1)
	}
	c.say(total)
}

// end reports that all is written that there is.
func (c *counter) end() { c.say(c.done) }

func (c *counter) say(total int64) {
	if c.report != nil && c.done > 0 {
		c.report(Progress{Name: c.name, Done: c.done, Total: total})
	}
}

// copyNeed is what a copy of a volume takes that is to have the record v.
func copyNeed(ctx context.Context, p, target *openedPool, from tree.Source, v tree.Volume) (spaceNeed, error) {
	if p == target {
		return sharingNeed("a copy of volume " + from.Ref()), nil
	}
	if err := btrfs.Sync(p.Path()); err != nil { // what is not written yet has no extents
		return spaceNeed{}, err
	}
	return volumeNeed(ctx, p, from, snapshotNames(v))
}

// snapshotNames are the names of a volume's snapshots.
func snapshotNames(v tree.Volume) []string {
	names := make([]string, 0, len(v.Snapshots))
	for _, sn := range v.Snapshots {
		names = append(names, sn.Name)
	}
	return names
}
