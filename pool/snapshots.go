package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"poolctl/pool/tree"
)

// SnapshotOptions are the arguments of CreateSnapshot.
type SnapshotOptions struct {
	Instance string
	Name     string // "" = as snapshots.pattern of the instance says: snap0, snap1 and so on
	Expiry   string // a span ("3d 2H") or a date; "" = snapshots.expiry of the instance
	NoExpiry bool
	Reuse    bool // replaces a snapshot of that name

	scheduled bool
}

// CreateSnapshot makes a read-only snapshot of an instance, running or not, and
// returns its name.
func (s *System) CreateSnapshot(ctx context.Context, o SnapshotOptions) (name string, err error) {
	now := time.Now().UTC()
	if _, err := parseExpiry(o.Expiry, now); err != nil {
		return "", err
	}
	if o.Name != "" {
		if err := tree.ValidateSnapshotName(o.Name); err != nil {
			return "", fmt.Errorf("cannot create snapshot %q: %w", o.Name, err)
		}
	}
	in, err := s.lockAndRead(ctx, o.Instance, (*tree.Tree).InstanceAlone)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return s.snapshotLocked(ctx, in, o, now)
}

// snapshotLocked is CreateSnapshot of a locked instance, whose record may be without its
// snapshots.
func (s *System) snapshotLocked(ctx context.Context, in *lockedInstance, o SnapshotOptions, now time.Time) (string, error) {
	config := s.currentConfig(in)
	expires, err := parseExpiry(o.Expiry, now)
	if span := config[snapshotExpiryKey]; err == nil && expires.IsZero() && !o.NoExpiry && span != "" {
		if err = checkExpiry(span); err == nil { // it may be of a record that was never checked here
			expires = addExpiry(now, span)
		} else {
			err = fmt.Errorf("%s: %w", snapshotExpiryKey, err)
		}
	}
	name := o.Name
	if err == nil && name == "" {
		var taken []string
		if taken, err = in.TakenSnapshotNames(o.Instance); err == nil {
			name, err = nextSnapshotName(ctx, config[snapshotPatternKey], now, taken)
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot create a snapshot of %s: %w", o.Instance, err)
	}
	options := tree.SnapshotOptions{ExpiresAt: expires, Scheduled: o.scheduled, Still: func(do func() error) error {
		return s.still(ctx, in, do)
	}}
	_, missing := in.SnapshotPath(o.Instance, name)
	if o.Reuse && missing == nil {
		if err = s.checkNoLook(o.Instance + "/" + name); err != nil {
			return "", fmt.Errorf("cannot replace %s/%s: %w", o.Instance, name, err)
		}
		err = s.withRoom(ctx, in.openedPool, "a snapshot", func() error { return in.ReplaceSnapshot(ctx, o.Instance, name, options) })
		s.pruneQgroups(in.openedPool)
	} else {
		err = s.withRoom(ctx, in.openedPool, "a snapshot", func() error { return in.CreateSnapshot(ctx, o.Instance, name, options) })
	}
	if errors.Is(err, fs.ErrExist) {
		err = withHint(fmt.Errorf("cannot create snapshot %s/%s: %w", o.Instance, name, ErrExists), "--reuse replaces it")
	}
	if err == nil {
		s.keepInstanceLimit(ctx, in)
	}
	return name, s.hintFull(in.openedPool.rec, err)
}

// currentConfig is what an instance's profiles and its own configuration say now.
func (s *System) currentConfig(in *lockedInstance) map[string]string {
	rec := in.rec
	if err := s.reexpandKnown(&rec); err != nil {
		return in.rec.ExpandedConfig
	}
	return rec.ExpandedConfig
}

func instanceSnapshotNames(in tree.Instance) []string {
	names := make([]string, len(in.Snapshots))
	for i, sn := range in.Snapshots {
		names[i] = sn.Name
	}
	return names
}

// Snapshots lists an instance's snapshots, oldest first.
func (s *System) Snapshots(ctx context.Context, instance string) ([]Snapshot, error) {
	p, _, err := s.findInstance(ctx, instance)
	if err != nil {
		return nil, err
	}
	recs, err := p.Snapshots(instance)
	if err = errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	out := []Snapshot{}
	for _, r := range recs {
		out = append(out, publicSnapshot(r))
	}
	return out, nil
}

// RestoreOptions are the arguments of RestoreSnapshot.
type RestoreOptions struct {
	Instance, Snapshot string
	// Keep leaves the present state as a new snapshot, named as one without a name.
	Keep bool
}

// RestoreSnapshot brings an instance back to a snapshot, with the configuration and
// the devices that it had. A running instance is stopped for it and started again.
// The present state is kept until the restored one has taken its place, and with
// Keep as a snapshot, of which a notice tells.
func (s *System) RestoreSnapshot(ctx context.Context, o RestoreOptions) (err error) {
	in, err := s.lockInstance(ctx, o.Instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return s.restoreLocked(ctx, in, o)
}

func (s *System) restoreLocked(ctx context.Context, in *lockedInstance, o RestoreOptions) error {
	name, snap := in.rec.Name, o.Snapshot
	_, err := in.SnapshotPath(name, snap)
	if err = snapshotError(err, name); err == nil {
		err = s.checkNoLook(name)
	}
	if err == nil {
		err = s.needSpace(ctx, in.openedPool.rec, sharingNeed("restoring it"))
	}
	wasRunning := s.isRunning(name)
	if err == nil && wasRunning {
		err = s.stopLocked(ctx, in, StopOptions{})
	}
	if err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
	}
	if o.Keep { // after the stop: what it wrote at its end is in it
		err = s.restoreKeeping(ctx, in, snap)
	} else {
		err = s.restoreRecorded(ctx, in, snap)
	}
	err = s.hintFull(in.openedPool.rec, err)
	s.pruneQgroups(in.openedPool)
	if wasRunning {
		err = errors.Join(err, s.startAgain(ctx, in))
	}
	return err
}

// restoreKeeping is restoreRecorded that leaves the present state as a snapshot.
func (s *System) restoreKeeping(ctx context.Context, in *lockedInstance, snap string) error {
	name, now := in.rec.Name, time.Now().UTC()
	kept, err := nextSnapshotName(ctx, s.currentConfig(in)[snapshotPatternKey], now, instanceSnapshotNames(in.rec))
	if err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
	}
	err = in.KeepInstance(ctx, name, kept, func() error {
		if _, err := s.snapshotLocked(ctx, in, SnapshotOptions{Instance: name, Name: kept, NoExpiry: true}, now); err != nil {
			return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
		}
		return nil
	}, func() error { return s.restoreRecorded(ctx, in, snap) })
	if err == nil {
		s.noticef("what %s was is kept as its snapshot %s", name, kept)
	}
	return err
}

// startAgain starts an instance that was stopped for something, whatever became of
// that.
func (s *System) startAgain(ctx context.Context, in *lockedInstance) error {
	rec, err := in.Instance(in.rec.Name)
	if err == nil {
		in.rec = rec
		err = s.startLocked(context.WithoutCancel(ctx), in)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s again: %w", in.rec.Name, err)
	}
	return nil
}

// restoreRecorded exchanges the instance for its snapshot, with the size that it
// has now, what it is known by now and what its profiles say now.
func (s *System) restoreRecorded(ctx context.Context, in *lockedInstance, snap string) error {
	unlock, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	name := in.rec.Name
	options := tree.RestoreOptions{Adapt: func(present tree.Instance, restored *tree.Instance) error {
		err := s.keepSize(present, restored)
		if err == nil && present.Broken == nil {
			err = s.stay(present, restored)
		}
		if err == nil {
			restored.Limit, err = rootSize(restored.ExpandedDevices)
		}
		if err == nil && !s.canHold(ctx, in.openedPool, name, restored.Limit) {
			restored.Limit = 0
		}
		return err
	}}
	return s.withRoom(ctx, in.openedPool, "restoring it", func() error { return in.RestoreSnapshot(ctx, name, snap, options) })
}

// DeleteSnapshot deletes one snapshot for good.
func (s *System) DeleteSnapshot(ctx context.Context, instance, snap string) error {
	return s.deleteSnapshot(ctx, instance, snap, forGood)
}

func (s *System) deleteSnapshot(ctx context.Context, instance, snap string, how disposal) (err error) {
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	ref := instance + "/" + snap
	if err := s.checkNoLook(ref); err != nil {
		return fmt.Errorf("cannot delete %s: %w", ref, err)
	}
	err = s.disposeSnapshot(ctx, in, snap, how)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cannot delete %s: %w", ref, snapshotError(err, instance))
	}
	return err
}

// RenameSnapshot gives a snapshot another name.
func (s *System) RenameSnapshot(ctx context.Context, instance, from, to string) (err error) {
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	ref := instance + "/" + from
	if err := s.checkNoLook(ref); err != nil {
		return fmt.Errorf("cannot rename %s: %w", ref, err)
	}
	err = in.RenameSnapshot(ctx, instance, from, to)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("cannot rename %s to %s: %w", ref, to, ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot rename %s: %w", ref, snapshotError(err, instance))
	}
	return s.hintFull(in.openedPool.rec, err)
}

// SnapshotInfo is a snapshot of an instance as `snapshot show` prints it.
type SnapshotInfo struct {
	SnapshotConfig `yaml:",inline"`
	// Usage is what it takes: everything that it has, and what it alone has, which is
	// what deleting it frees.
	Usage SnapshotUsage `json:"usage" yaml:"usage"`
}

// SnapshotUsage is what the extents say of a snapshot, in bytes on disk.
type SnapshotUsage struct {
	Referenced uint64 `json:"referenced" yaml:"referenced"`
	Exclusive  uint64 `json:"exclusive" yaml:"exclusive"`
}

// Snapshot tells of a snapshot of an instance. For what it takes, the trees of the
// whole pool are read.
func (s *System) Snapshot(ctx context.Context, instance, snap string) (SnapshotInfo, error) {
	config, err := s.SnapshotConfig(ctx, instance, snap)
	if err != nil {
		return SnapshotInfo{}, err
	}
	out := SnapshotInfo{SnapshotConfig: config}
	p, _, err := s.findInstance(ctx, instance)
	if err != nil {
		return out, err
	}
	pool := p.rec.Name
	if err := p.close(); err != nil {
		return out, err
	}
	usage, err := s.PoolUsage(ctx, pool, UsageOptions{Exact: true, Objects: []string{instance + "/" + snap}})
	if err != nil {
		return out, err
	}
	if len(usage.Objects) > 0 && usage.Objects[0].Exact != nil {
		exact := usage.Objects[0].Exact
		out.Usage = SnapshotUsage{exact.Referenced.Total, exact.Exclusive.Total}
		out.Size = int64(exact.Referenced.Total) //nolint:gosec // no pool has 8 EiB
	}
	return out, nil
}

func snapshotError(err error, instance string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(ErrNotFound, "poolctl snapshot list %s shows its snapshots", instance)
	}
	return err
}
