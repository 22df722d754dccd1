package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// SnapshotRun is what RunSnapshots did: NAME/SNAPSHOT of instances and
// POOL/VOLUME/SNAPSHOT of custom volumes.
type SnapshotRun struct {
	Made []string
	Gone []string
}

// scheduleState is what is kept between two runs.
type scheduleState struct {
	CheckedAt time.Time `json:"checked_at"`
}

// RunSnapshots makes the snapshots that snapshots.schedule of instances and custom
// volumes asks for since it ran last, in all pools that are attached, and deletes
// those whose time is over and those made so that snapshots.retention does not keep.
// It is for a timer. What was missed, one snapshot makes up for. One that fails does
// not keep the others from theirs; their errors are joined.
func (s *System) RunSnapshots(ctx context.Context) (SnapshotRun, error) {
	out, err := s.runSchedules(ctx)
	gone, eerr := s.ExpireSnapshots(ctx)
	out.Gone = append(out.Gone, gone...)
	return out, errors.Join(err, eerr)
}

// runSchedules is RunSnapshots without what is over. Of two at the same time the second
// waits, and finds nothing left to do.
func (s *System) runSchedules(ctx context.Context) (out SnapshotRun, err error) {
	unlock, err := s.dir.LockSchedules(ctx)
	if err != nil {
		return out, err
	}
	defer unlock()
	path := filepath.Join(s.dir.Root, "snapshots.json")
	now := time.Now()
	var last scheduleState
	if err := ignoreNotExist(state.LoadJSON(path, &last)); err != nil {
		return out, fmt.Errorf("cannot read when snapshots were made last: %w", err)
	}
	if last.CheckedAt.IsZero() || last.CheckedAt.After(now) {
		last.CheckedAt = now.Add(-time.Minute)
	}
	var errs []error
	_, err = s.inAttachedPools(ctx, func(ctx context.Context, rec state.PoolRecord) ([]string, error) {
		return nil, errors.Join(s.runInstances(ctx, rec, last.CheckedAt, now, &out), s.runVolumes(ctx, rec, last.CheckedAt, now, &out))
	})
	errs = append(errs, err)
	if ctx.Err() == nil {
		if err := state.SaveJSON(path, scheduleState{now}); err != nil {
			errs = append(errs, fmt.Errorf("cannot note when snapshots were made: %w", err))
		}
	}
	return out, errors.Join(errs...)
}

// ExpireSnapshots deletes the snapshots of instances and custom volumes, in all pools
// that are attached, whose time is over, and names them: NAME/SNAPSHOT and
// POOL/VOLUME/SNAPSHOT.
func (s *System) ExpireSnapshots(ctx context.Context) (gone []string, err error) {
	return s.inAttachedPools(ctx, func(ctx context.Context, rec state.PoolRecord) ([]string, error) {
		some, err := s.expireInstanceSnapshots(ctx, rec)
		volumes, verr := s.expireVolumeSnapshots(ctx, rec)
		return append(some, volumes...), errors.Join(err, verr)
	})
}

func (s *System) expireInstanceSnapshots(ctx context.Context, rec state.PoolRecord) (gone []string, err error) {
	all, err := s.instancesIn(ctx, rec)
	if err != nil {
		return nil, err
	}
	var errs []error
	now := time.Now()
	for _, in := range all {
		for _, sn := range in.Snapshots {
			if isSet := sn.ExpiresAt.Unix() > 0; !isSet || sn.ExpiresAt.After(now) {
				continue
			}
			err := s.DeleteSnapshot(ctx, in.Name, sn.Name)
			if err == nil {
				gone = append(gone, in.Name+"/"+sn.Name)
			} else if !errors.Is(err, ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return gone, errors.Join(errs...)
}

// instancesIn are the instances of a pool whose records can be read.
func (s *System) instancesIn(ctx context.Context, rec state.PoolRecord) (out []tree.Instance, err error) {
	p, err := s.openPool(ctx, rec.Name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	all, err := p.Instances(ctx)
	for _, in := range all {
		if in.Broken == nil {
			out = append(out, in)
		}
	}
	return out, err
}

// runInstances makes the snapshots of a pool's instances that are due, and deletes
// those that retention does not keep.
func (s *System) runInstances(ctx context.Context, rec state.PoolRecord, after, now time.Time, out *SnapshotRun) error {
	all, err := s.instancesIn(ctx, rec)
	if err != nil {
		return err
	}
	var errs []error
	for _, in := range all {
		_ = s.reexpandKnown(&in)
		config := in.ExpandedConfig
		if config[snapshotScheduleKey] == "" && config[snapshotRetentionKey] == "" {
			continue
		}
		if s.instanceDue(in, after, now) {
			name, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: in.Name, scheduled: true})
			if err != nil {
				errs = append(errs, err)
				continue // what there is is kept
			}
			out.Made = append(out.Made, in.Name+"/"+name)
		}
		gone, err := s.retainInstance(ctx, in.Name, config[snapshotRetentionKey])
		out.Gone = append(out.Gone, gone...)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// instanceDue says whether an instance is to have a snapshot: it is due, there is none
// since, and the instance runs or is to be taken while it is stopped as well.
func (s *System) instanceDue(in tree.Instance, after, now time.Time) bool {
	schedule := in.ExpandedConfig[snapshotScheduleKey]
	if schedule == "" || checkInstanceSchedule(schedule) != nil || !isTrue(in.ExpandedConfig[snapshotStoppedKey]) && !s.isRunning(in.Name) {
		return false
	}
	due := lastDue(schedule, after, now)
	return !due.IsZero() && !slices.ContainsFunc(in.Snapshots, func(sn tree.Snapshot) bool { return isBetween(sn.CreatedAt, due, now) })
}

// isBetween says whether a moment is in a span. A snapshot of later than now was made
// while the clock was wrong.
func isBetween(at, from, until time.Time) bool { return !at.Before(from) && !at.After(until) }

// retainInstance deletes the scheduled snapshots of an instance that are kept no longer.
func (s *System) retainInstance(ctx context.Context, name, retention string) (gone []string, err error) {
	if retention == "" {
		return nil, nil
	}
	tiers, err := parseRetention(retention)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, snapshotRetentionKey, err)
	}
	p, _, err := s.findInstance(ctx, name)
	if err != nil {
		return nil, err
	}
	snaps, err := p.Snapshots(name)
	if err = errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	var made []madeAt
	for _, sn := range snaps {
		if isTrue(sn.Config[tree.ScheduledKey]) {
			made = append(made, madeAt{sn.Name, sn.CreatedAt})
		}
	}
	return retain(tiers, made, time.Now(), name, func(snap string) error { return s.DeleteSnapshot(ctx, name, snap) })
}

// runVolumes is runInstances for custom volumes.
func (s *System) runVolumes(ctx context.Context, rec state.PoolRecord, after, now time.Time, out *SnapshotRun) error {
	p, err := s.openPool(ctx, rec.Name)
	if err != nil {
		return err
	}
	all, err := p.Volumes(ctx)
	if err = errors.Join(err, p.close()); err != nil {
		return err
	}
	var errs []error
	for _, v := range all {
		if v.Project != tree.DefaultProject {
			continue
		}
		schedule := v.Config[snapshotScheduleKey]
		if schedule != "" && checkSchedule(schedule) == nil {
			due := lastDue(schedule, after, now)
			if !due.IsZero() && !slices.ContainsFunc(v.Snapshots, func(sn tree.VolumeSnapshot) bool { return isBetween(sn.CreatedAt, due, now) }) {
				name, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: rec.Name, Volume: v.Name, scheduled: true})
				if err != nil {
					errs = append(errs, err)
					continue
				}
				out.Made = append(out.Made, rec.Name+"/"+v.Name+"/"+name)
			}
		}
		gone, err := s.retainVolume(ctx, rec.Name, v)
		out.Gone = append(out.Gone, gone...)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func (s *System) retainVolume(ctx context.Context, pool string, v tree.Volume) (gone []string, err error) {
	retention := v.Config[snapshotRetentionKey]
	if retention == "" {
		return nil, nil
	}
	tiers, err := parseRetention(retention)
	if err != nil {
		return nil, fmt.Errorf("volume %s: %s: %w", v.Name, snapshotRetentionKey, err)
	}
	snaps, err := s.VolumeSnapshots(ctx, pool, v.Name)
	if err != nil {
		return nil, err
	}
	var made []madeAt
	for _, sn := range snaps {
		if isTrue(sn.Config[tree.ScheduledKey]) {
			made = append(made, madeAt{sn.Name, sn.CreatedAt})
		}
	}
	return retain(tiers, made, time.Now(), pool+"/"+v.Name, func(snap string) error { return s.DeleteVolumeSnapshot(ctx, pool, v.Name, snap) })
}
