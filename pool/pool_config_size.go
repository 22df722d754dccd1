package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"poolctl/pool/state"
)

// changesSize says whether a change of a pool's configuration is one of its
// size, which resizes the pool and is saved by that. It has to be the only
// change: a resize can be finished by a later command, and all of a change is
// made or nothing.
func (s *System) changesSize(name string, change func(*state.PoolRecord) error) (size string, err error) {
	from, err := s.loadPool(name)
	if err != nil {
		return "", err
	}
	to := from
	to.Config = maps.Clone(from.Config)
	if to.Config == nil {
		to.Config = map[string]string{}
	}
	if err := change(&to); err != nil {
		return "", fmt.Errorf("cannot change pool %s: %w", name, err)
	}
	size = to.Config["size"]
	if size == from.Config["size"] || size == "" || from.Kind != state.PoolFile {
		return "", nil // to be changed, or refused, as other keys are
	}
	if err := checkSize(size); err != nil {
		return "", fmt.Errorf("cannot change pool %s: size=%s: %w", name, size, err)
	}
	to.Config["size"] = from.Config["size"]
	if !maps.Equal(to.Config, from.Config) || to.Description != from.Description {
		return "", withHint(fmt.Errorf("cannot change pool %s: %w", name, errors.New("a new size cannot be set together with something else")), "set it by itself, or use poolctl pool resize %s %s", name, size)
	}
	return size, nil
}

// changePool changes a pool's record, or resizes the pool if that is the change.
func (s *System) changePool(ctx context.Context, name string, progress func(Progress), change func(*state.PoolRecord) error) error {
	size, err := s.changesSize(name, change)
	if err != nil {
		return err
	}
	if size != "" {
		return s.ResizePool(ctx, name, size, progress)
	}
	return s.updatePool(ctx, name, change)
}
