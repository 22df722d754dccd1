package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"poolctl/pool/crash"
	"poolctl/pool/state"
)

// PoolConfig is what can be changed of a pool, as `pool edit` shows it.
type PoolConfig struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
}

// PoolConfig reads a pool's configuration and description. The pool is not
// attached for it.
func (s *System) PoolConfig(_ context.Context, name string) (PoolConfig, error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return PoolConfig{}, err
	}
	return poolConfigOf(rec), nil
}

func poolConfigOf(rec state.PoolRecord) PoolConfig {
	out := PoolConfig{Config: maps.Clone(rec.Config), Description: rec.Description}
	if out.Config == nil {
		out.Config = map[string]string{}
	}
	return out
}

// PoolValue is the value of a key of a pool's configuration, "" when it is not
// set. A key that there is not is an error.
func (s *System) PoolValue(_ context.Context, name, key string) (string, error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return "", err
	}
	value, set := rec.Config[key]
	if _, err := findPoolKey(key); err != nil && !set {
		return "", fmt.Errorf("cannot read %s of pool %s: %w", shellWord(key), name, err)
	}
	return value, nil
}

// PoolChange says what SetPool is to change; everything else stays.
type PoolChange struct {
	Config      map[string]string // a key with "" is unset
	Description *string           // nil: as it is
	Progress    func(Progress)    // of a resize; nil for none
}

// SetPool changes keys of a pool's configuration and its description, all of
// them or none. Unknown keys, values that a key does not take, and keys that
// cannot change once the pool is made are refused. What an attached pool can
// take at once, such as mount options, takes effect at once. A new size, which
// has to be the only change, resizes the pool (ResizePool).
func (s *System) SetPool(ctx context.Context, name string, c PoolChange) error {
	return s.changePool(ctx, name, c.Progress, func(rec *state.PoolRecord) error {
		for k, v := range c.Config {
			rec.Config[k] = v
		}
		if c.Description != nil {
			rec.Description = *c.Description
		}
		return nil
	})
}

// ReplacePool puts now in the place of a pool's configuration and description,
// which must still be what was read as was; as SetPool otherwise. Keys that now
// leaves out are unset, but for the size and volatile.*, which stay.
func (s *System) ReplacePool(ctx context.Context, name string, was, now PoolConfig, progress func(Progress)) error {
	return s.changePool(ctx, name, progress, func(rec *state.PoolRecord) error {
		if have := poolConfigOf(*rec); !maps.Equal(have.Config, was.Config) || have.Description != was.Description {
			return withHint(errors.New("somebody else has changed it meanwhile"), "poolctl pool edit %s shows how it is now", name)
		}
		rec.Config, rec.Description = maps.Clone(now.Config), now.Description
		if rec.Config == nil {
			rec.Config = map[string]string{}
		}
		for name, value := range was.Config {
			if _, given := now.Config[name]; !given && (name == "size" || strings.HasPrefix(name, volatilePrefix)) {
				rec.Config[name] = value
			}
		}
		return nil
	})
}

// updatePool changes a pool's record. It shares the pool's lock, so that who
// works in the pool for long keeps nobody waiting, and has the state
// directory's for itself.
func (s *System) updatePool(ctx context.Context, name string, change func(*state.PoolRecord) error) error {
	if _, err := s.loadPool(name); err != nil {
		return err
	}
	unlock, err := s.dir.LockPool(ctx, name, true)
	if err != nil {
		return err
	}
	defer unlock()
	unlockState, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlockState()
	from, err := s.loadPool(name) // it may have been changed or deleted while we waited
	if err != nil {
		return err
	}
	to := from
	to.Config = maps.Clone(from.Config)
	if to.Config == nil {
		to.Config = map[string]string{}
	}
	err = change(&to)
	if err == nil {
		err = s.applyPool(ctx, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot change pool %s: %w", name, err)
	}
	return nil
}

// applyPool checks a change, makes it effective and saves it; when that fails,
// what was made effective is taken back, after a kill by the next command.
func (s *System) applyPool(ctx context.Context, from, to state.PoolRecord) (err error) {
	changed, err := checkPoolChange(from, to)
	if err != nil {
		return err
	}
	maps.DeleteFunc(to.Config, func(_, v string) bool { return v == "" })
	if maps.Equal(to.Config, from.Config) && to.Description == from.Description {
		return nil
	}
	entry, err := s.beginSet(ctx, from, to, changed)
	if err != nil {
		return err
	}
	undo := func() {}
	defer func() {
		if err != nil {
			undo()
		}
		if entry != nil {
			err = errors.Join(err, entry.Done())
		}
	}()
	for _, k := range changed {
		if k.apply == nil {
			continue
		}
		before := undo
		undo = func() {
			err = errors.Join(err, k.apply(context.WithoutCancel(ctx), s, to, from))
			before()
		}
		if err := k.apply(ctx, s, from, to); err != nil {
			return err
		}
	}
	crash.Point("pool.set.applied")
	return s.savePool(to)
}

// checkPoolChange validates the keys that a change changes, and returns them in
// a fixed order. Those that stay are not looked at: an adopted pool may have
// some that poolctl does not know.
func checkPoolChange(from, to state.PoolRecord) ([]poolKey, error) {
	var changed []poolKey
	all := maps.Clone(from.Config)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, to.Config)
	checked := map[string]string{}
	for _, name := range sortedKeys(all) {
		was, had := from.Config[name]
		value := to.Config[name]
		if had && value == was {
			continue
		}
		k, err := findPoolKey(name)
		if err != nil && had && value == "" { // an adopted pool may lose what poolctl does not know
			continue
		}
		if err != nil {
			return nil, err
		}
		if value == was { // unset, and was not set
			continue
		}
		if err := k.forKind(to.Kind); err != nil && value != "" {
			return nil, err
		}
		if k.fixed != "" {
			return nil, withHint(fmt.Errorf("%s cannot be changed", name), "%s", k.fixed)
		}
		checked[name] = value
		changed = append(changed, k)
	}
	if err := checkPoolConfig(to.Kind, checked); err != nil {
		return nil, err
	}
	return changed, checkCompressOnce(to.Config)
}
