package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"poolctl/pool/tree"
)

// CreateSnapshot makes a read-only snapshot of an instance, running or not, and
// returns its name; with snap "" that is snap0, snap1 and so on.
func (s *System) CreateSnapshot(ctx context.Context, instance, snap string) (name string, err error) {
	if snap != "" {
		if err := tree.ValidateSnapshotName(snap); err != nil {
			return "", fmt.Errorf("cannot create snapshot %q: %w", snap, err)
		}
	}
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if snap == "" {
		if snap, err = in.NextSnapshotName(instance); err != nil {
			return "", err
		}
	}
	err = in.CreateSnapshot(ctx, instance, snap, tree.SnapshotOptions{})
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("cannot create snapshot %s/%s: %w", instance, snap, ErrExists)
	}
	if err == nil {
		s.keepInstanceLimit(ctx, in)
	}
	return snap, s.hintFull(in.openedPool.rec, err)
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

// RestoreSnapshot brings an instance back to a snapshot. A running instance is
// stopped for it and started again. The present state is kept until the
// restored one has taken its place.
func (s *System) RestoreSnapshot(ctx context.Context, instance, snap string) (err error) {
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return s.restoreLocked(ctx, in, snap)
}

func (s *System) restoreLocked(ctx context.Context, in *lockedInstance, snap string) error {
	name := in.rec.Name
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
	err = s.restoreRecorded(ctx, in, snap)
	err = s.hintFull(in.openedPool.rec, err)
	s.pruneQgroups(in.openedPool)
	if wasRunning {
		again := context.WithoutCancel(ctx)
		rec, rerr := in.Instance(name)
		if rerr == nil {
			in.rec = rec
			rerr = s.startLocked(again, in)
		}
		if rerr != nil {
			rerr = fmt.Errorf("cannot start %s again: %w", name, rerr)
		}
		err = errors.Join(err, rerr)
	}
	return err
}

// restoreRecorded exchanges the instance for its snapshot, with the size that it
// has now and what its profiles say now.
func (s *System) restoreRecorded(ctx context.Context, in *lockedInstance, snap string) error {
	unlock, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	name := in.rec.Name
	return in.RestoreSnapshot(ctx, name, snap, tree.RestoreOptions{Adapt: func(present tree.Instance, restored *tree.Instance) error {
		err := s.keepSize(present, restored)
		if err == nil {
			restored.Limit, err = rootSize(restored.ExpandedDevices)
		}
		if err == nil && !s.canHold(ctx, in.openedPool, name, restored.Limit) {
			restored.Limit = 0
		}
		return err
	}})
}

// DeleteSnapshot deletes one snapshot.
func (s *System) DeleteSnapshot(ctx context.Context, instance, snap string) (err error) {
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	ref := instance + "/" + snap
	if err := s.checkNoLook(ref); err != nil {
		return fmt.Errorf("cannot delete %s: %w", ref, err)
	}
	err = in.DeleteSnapshot(ctx, instance, snap)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cannot delete %s: %w", ref, snapshotError(err, instance))
	}
	if err == nil {
		s.pruneQgroups(in.openedPool)
		s.tightenInstance(ctx, in)
	}
	return err
}

func snapshotError(err error, instance string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(ErrNotFound, "poolctl snapshot list %s shows its snapshots", instance)
	}
	return err
}
