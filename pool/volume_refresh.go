package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
)

const opVolumeRefresh = "volume-refresh"

// refreshing is the intent of a custom volume that a newer copy takes the place of:
// New until the old one is gone.
type refreshing struct {
	Pool string `json:"pool"`
	Name string `json:"name"`
	New  string `json:"new"`
}

// RefreshVolume is CopyVolume to a name that a copy may have already: what is in
// that, and its snapshots, become what the source has now, as in Incus; its
// configuration and description stay. It is refused while a running instance uses
// it. The new copy is complete before the old one goes, so there has to be room for
// both in another pool; in the same one they share all data.
//
// Order: intent, copy, delete of the old one, rename. Killed before the delete, the
// next command deletes the new copy, and renames it after that.
func (s *System) RefreshVolume(ctx context.Context, o CopyVolumeOptions) error {
	o.Name = customName(o.Name)
	there, err := s.hasVolume(ctx, o.ToPool, o.Name)
	if err != nil {
		return err
	}
	if !there || o.Pool == o.ToPool && customName(o.Volume) == o.Name { // itself is refused
		return s.CopyVolume(ctx, o)
	}
	if err := s.refreshVolume(ctx, o); err != nil {
		return fmt.Errorf("cannot refresh volume %s/%s: %w", o.ToPool, o.Name, err)
	}
	return nil
}

func (s *System) refreshVolume(ctx context.Context, o CopyVolumeOptions) (err error) {
	if err := s.checkNotRunning(ctx, o.ToPool, o.Name); err != nil {
		return err
	}
	in := refreshing{o.ToPool, o.Name, "refresh-" + newUUID()}
	entry, err := journal.Begin(ctx, s.journalDir(), opVolumeRefresh, in)
	if err != nil {
		return err
	}
	crash.Point("pool.volumerefresh.begun")
	o.Name = in.New
	err = s.CopyVolume(ctx, o)
	if err == nil {
		crash.Point("pool.volumerefresh.copied")
		err = s.replaceVolume(ctx, in)
	}
	if ferr := s.finishRefresh(context.WithoutCancel(ctx), in); ferr != nil {
		return errors.Join(err, ferr, entry.Close()) // the next command goes on with it
	}
	return errors.Join(err, entry.Done())
}

// replaceVolume gives the new copy what the old one keeps, and deletes that.
func (s *System) replaceVolume(ctx context.Context, in refreshing) (err error) {
	old, err := s.lockVolume(ctx, in.Pool, in.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	if err := s.checkNotRunning(ctx, in.Pool, in.Name); err != nil {
		return err
	}
	if old.vol.Broken != nil {
		return old.vol.Broken
	}
	_, err = old.UpdateVolume(in.New, func(v *tree.Volume) error {
		v.Config, v.Description, v.CreatedAt = maps.Clone(old.vol.Config), old.vol.Description, old.vol.CreatedAt
		return nil
	})
	if err == nil {
		err = s.limitVolume(ctx, old.openedPool, in.Name, old.VolumePath(in.New), old.vol.Config, true)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	crash.Point("pool.volumerefresh.kept")
	return old.DeleteVolume(context.WithoutCancel(ctx), in.Name)
}

// finishRefresh leaves one of the two, with the name that it is to have.
func (s *System) finishRefresh(ctx context.Context, in refreshing) (err error) {
	p, err := s.openPool(ctx, in.Pool)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if _, err := p.Volume(in.New); err != nil {
		return ignoreNotExist(err)
	}
	if _, err := p.Volume(in.Name); err == nil {
		return p.DeleteVolume(ctx, in.New)
	} else if ignoreNotExist(err) != nil {
		return err
	}
	crash.Point("pool.volumerefresh.deleted")
	return p.RenameVolume(ctx, in.New, in.Name)
}

// recoverVolumeRefresh finishes or undoes what an unlocked intent tells of.
func (s *System) recoverVolumeRefresh(ctx context.Context, e *journal.Entry) error {
	var in refreshing
	if err := e.Args(&in); err != nil {
		return err
	}
	return s.finishRefresh(ctx, in)
}
