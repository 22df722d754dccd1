package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
)

// opMove is the operation of an intent to move an instance to another pool.
const opMove = "instance-move"

// MoveOptions are the arguments of MoveInstance.
type MoveOptions struct {
	Source       string
	Name         string // "" = the same
	Pool         string // "" = the same
	InstanceOnly bool   // to another pool: without the snapshots, which go into the trash with what it was
	// Config, DeviceOverrides and Profiles (nil = the same) are what it is to have from then on.
	Config          map[string]string
	DeviceOverrides map[string]map[string]string
	Profiles        []string
	Progress        func(Progress)
}

// change is what a move changes of the instance besides; nil where that is nothing.
func (o MoveOptions) change(s *System) func(in *tree.Instance) error {
	if len(o.Config) == 0 && len(o.DeviceOverrides) == 0 && o.Profiles == nil {
		return nil
	}
	return func(in *tree.Instance) (err error) {
		if o.Profiles != nil {
			if err := s.checkProfiles(o.Profiles); err != nil {
				return err
			}
			in.Profiles = o.Profiles
		}
		in.Config = cloneOrEmpty(in.Config)
		maps.Copy(in.Config, o.Config)
		in.Devices, err = s.overrideDevices(in.Profiles, in.Config, in.Devices, o.DeviceOverrides)
		return err
	}
}

// instanceMove is that intent.
type instanceMove struct {
	Pool   string `json:"pool"`
	From   string `json:"from"`
	ToPool string `json:"to_pool"`
	To     string `json:"to"`
	// FromUUID and ToUUID are the UUIDs of the subvolumes, which tell them from others of those names.
	FromUUID string `json:"from_uuid"`
	ToUUID   string `json:"to_uuid"`
	// Trash says that it had snapshots which are not there: what is left goes into the trash.
	Trash bool `json:"trash,omitempty"`
}

// MoveInstance gives a stopped instance another name, another pool or both, with its
// snapshots and logs. It stays what it is: its hardware addresses, its UUID and its
// dates are kept.
//
// To another pool: all of it is sent, aside; then the intent, the commit there, and the
// deletion here once the commit is on the disk there. Killed before the intent or the
// commit, it is where it was; after the commit the next command deletes what is left
// here. It does not go into the trash: all of it is there. Unless the snapshots were left
// out: then it goes into the trash here, with them.
//
// What is changed besides is part of the commit there; in the same pool it is part of the
// intent of the rename, and recorded with the new name.
func (s *System) MoveInstance(ctx context.Context, o MoveOptions) (err error) {
	p, _, err := s.findInstance(ctx, o.Source)
	if err != nil {
		return err
	}
	from := p.rec.Name
	if err := p.close(); err != nil {
		return err
	}
	if o.Name == "" {
		o.Name = o.Source
	}
	if o.Pool == "" || o.Pool == from {
		if o.Name == o.Source && o.Pool != "" {
			return fmt.Errorf("cannot move %s: it is in pool %s already", o.Source, o.Pool)
		}
		return s.renameChanged(ctx, o)
	}
	if err := s.moveToPool(ctx, from, o); err != nil {
		to := "pool " + o.Pool
		if o.Name != o.Source {
			to = shellWord(o.Name) + " in " + to
		}
		return fmt.Errorf("cannot move %s to %s: %w", o.Source, to, err)
	}
	return nil
}

// renameChanged is RenameInstance that changes something besides.
func (s *System) renameChanged(ctx context.Context, o MoveOptions) error {
	if o.InstanceOnly {
		return fmt.Errorf("cannot rename %s without its snapshots: only a move to another pool leaves them out", o.Source)
	}
	return s.renameInstance(ctx, o.Source, o.Name, o.change(s))
}

func (s *System) moveToPool(ctx context.Context, from string, o MoveOptions) (err error) {
	if err := tree.ValidateInstanceName(o.Name); err != nil {
		return err
	}
	c := &instanceCopy{s: s, name: o.Name, progress: o.Progress, from: tree.Source{Name: o.Source, Snapshots: !o.InstanceOnly}}
	if c.p, c.target, c.close, err = s.openTwo(ctx, from, o.Pool); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	unlock, err := s.lockNames(ctx, o.Source, o.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if c.source, err = c.p.copySource(c.from); err != nil {
		return err
	}
	if err := s.checkMoved(ctx, c.source, o.Name); err != nil {
		return err
	}
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlockProfiles()
	if err := c.changeMoved(ctx, o); err != nil {
		return err
	}
	if o.Name != o.Source {
		if err := s.removeLogs(o.Name); err != nil { // of one whose pool is gone
			return err
		}
	}
	rec, err := c.movedRecord()
	if err != nil {
		return err
	}
	err = c.send(ctx, sending{rec: rec, names: instanceSnapshotNames(rec), adapt: c.repool, commit: c.commitMove})
	return s.hintFull(c.target.rec, err)
}

// changeMoved has the record that is moved be what it is to be.
func (c *instanceCopy) changeMoved(ctx context.Context, o MoveOptions) error {
	if o.InstanceOnly {
		c.trash, c.source.Snapshots = len(c.source.Snapshots) > 0, nil
	}
	change := o.change(c.s)
	if change == nil {
		return nil
	}
	in := &lockedInstance{openedPool: c.p, rec: c.source}
	t, err := c.s.plannedChange(ctx, in, change)
	if err == nil {
		err = c.s.checkDevices(ctx, in, t.was, t.now)
	}
	if err == nil {
		c.source = t.now
	}
	return err
}

// checkMoved refuses an instance that cannot be moved now, and a name that is taken.
func (s *System) checkMoved(ctx context.Context, in tree.Instance, to string) error {
	if in.Name != to {
		return s.checkRenamed(ctx, in, to)
	}
	return s.checkStill(in)
}

// movedRecord is the record of the instance in its new pool.
func (c *instanceCopy) movedRecord() (tree.Instance, error) {
	s, rec := c.s, c.source
	rec.Name, rec.Pool = c.name, poolInfo(c.target.rec)
	if c.name != c.source.Name && rec.Config["volatile.apply_template"] == "" {
		rec.Config["volatile.apply_template"] = "rename"
	}
	err := s.reexpandKnown(&rec)
	if err == nil {
		root := rootDevice(rec.ExpandedDevices)
		if root != "" && rec.ExpandedDevices[root]["pool"] != c.target.rec.Name {
			rec.Devices = overrideDevice(rec.Devices, rec.ExpandedDevices, root, map[string]string{"pool": c.target.rec.Name})
			rec.ExpandedDevices = cloneDevices(rec.ExpandedDevices)
			rec.ExpandedDevices[root] = rec.Devices[root]
		}
		rec.Limit, err = c.limit(context.Background(), rec)
	}
	return rec, err
}

// repool has the root disk of a snapshot be in the pool that it is sent to.
func (c *instanceCopy) repool(_ map[string]string, devices map[string]map[string]string) {
	if root := rootDevice(devices); root != "" {
		devices[root]["pool"] = c.target.rec.Name
	}
}

// commitMove makes the instance in its new pool and deletes it in the old one.
func (c *instanceCopy) commitMove(ctx context.Context, stage *tree.InstanceStage, rec tree.Instance) error {
	m := instanceMove{Pool: c.p.rec.Name, From: c.source.Name, ToPool: c.target.rec.Name, To: c.name, Trash: c.trash}
	old, err := btrfs.Stat(c.p.InstancePath(m.From))
	if err != nil {
		return err
	}
	staged, err := btrfs.Stat(stage.Path())
	if err != nil {
		return err
	}
	m.FromUUID, m.ToUUID = old.UUID, staged.UUID
	entry, err := journal.Begin(ctx, c.s.journalDir(), opMove, m)
	if err != nil {
		return err
	}
	crash.Point("pool.move.begun")
	err = stage.Commit(ctx, rec)
	crash.Point("pool.move.committed")
	if ferr := c.s.finishInstanceMove(context.WithoutCancel(ctx), c.p, c.target, m); ferr != nil {
		return errors.Join(err, ferr, entry.Close()) // the next command goes on
	}
	return errors.Join(err, entry.Done())
}

// finishInstanceMove deletes an instance that is in its new pool; when it is not there,
// it was not moved. With snapshots that are not there it goes into the trash.
func (s *System) finishInstanceMove(ctx context.Context, p, target *openedPool, m instanceMove) error {
	there, err := isSubvolume(target.InstancePath(m.To), m.ToUUID)
	if err != nil || !there {
		return err
	}
	left, err := isSubvolume(p.InstancePath(m.From), m.FromUUID)
	if err != nil {
		return err
	}
	if left {
		if err := btrfs.Sync(target.Path()); err != nil { // after a power cut, it is there or here
			return err
		}
		how := forGood
		if m.Trash {
			how = intoTrash
		}
		err := s.dispose(ctx, p, m.From, tree.Doomed{Kind: tree.KindInstance, Name: m.From}, how,
			func(ctx context.Context) error { return p.TrashInstance(ctx, m.From) },
			func(ctx context.Context) error { return p.DeleteInstance(ctx, m.From) })
		if err != nil {
			return err
		}
		crash.Point("pool.move.deleted")
	}
	s.afterDelete(ctx, p)
	if m.From == m.To {
		return nil
	}
	var errs []error
	to := s.logsOf(m.To)
	for i, from := range s.logsOf(m.From) {
		errs = append(errs, ignoreNotExist(os.Rename(from, to[i])))
	}
	moved, err := target.Instance(m.To)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, s.renameReservations(moved))...)
}

// isSubvolume says whether the subvolume with that UUID is at path.
func isSubvolume(path, uuid string) (bool, error) {
	sub, err := btrfs.Stat(path)
	if errors.Is(err, btrfs.ErrNotSubvolume) {
		return false, nil
	}
	return err == nil && sub.UUID == uuid, ignoreNotExist(err)
}

// recoverMove goes on with what a killed command had begun to move.
func (s *System) recoverMove(ctx context.Context, e *journal.Entry) (err error) {
	var m instanceMove
	if err := e.Args(&m); err != nil {
		return err
	}
	p, target, closePools, err := s.openTwo(ctx, m.Pool, m.ToPool)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePools()) }()
	unlock, err := s.lockNames(ctx, m.From, m.To)
	if err != nil {
		return err
	}
	defer unlock()
	if s.isRunning(m.From) {
		return nil // it is used again
	}
	return s.finishInstanceMove(ctx, p, target, m)
}
