package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/runtime/network"
)

// RenameNetwork gives a network, and its bridge, another name. It refuses while an
// instance or a profile uses it, as Incus does.
func (s *System) RenameNetwork(ctx context.Context, name, to string) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.renameNetwork(ctx, name, to); err != nil {
		return fmt.Errorf("cannot rename network %s to %s: %w", name, shellWord(to), err)
	}
	return nil
}

func (s *System) renameNetwork(ctx context.Context, name, to string) error {
	rec, err := s.managedNetwork(name)
	if err != nil {
		return err
	}
	if err := network.ValidateName(to); err != nil {
		return err
	}
	if _, err := s.dir.LoadNetwork(to); err == nil {
		return ErrExists
	}
	used, err := s.networkUsers(ctx, name)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return withHint(fmt.Errorf("%w by %v", ErrInUse, used), "only a network that nothing uses can be renamed")
	}
	was, err := s.bridge(rec)
	if err != nil {
		return err
	}
	rec.Name = to
	now, err := s.bridge(rec)
	if err != nil {
		return err
	}
	if err := errors.Join(now.Validate(), now.CheckName()); err != nil {
		return err
	}
	back := func(err error) error {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, s.dropNetwork(ctx, now), was.Up(ctx))
	}
	if err := was.Down(ctx); err != nil {
		return errors.Join(err, was.Up(context.WithoutCancel(ctx)))
	}
	if err := s.dir.SaveNetwork(rec); err != nil {
		return errors.Join(err, was.Up(context.WithoutCancel(ctx)))
	}
	if err := now.Up(ctx); err != nil {
		return back(err)
	}
	return s.dropNetwork(context.WithoutCancel(ctx), was)
}
