package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// NetworkConfig is what can be changed of a network, as `network edit` shows it.
type NetworkConfig struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
}

// NetworkConfig reads a network's configuration and description.
func (s *System) NetworkConfig(_ context.Context, name string) (NetworkConfig, error) {
	rec, err := s.managedNetwork(name)
	if err != nil {
		return NetworkConfig{}, err
	}
	return NetworkConfig{Config: cloneOrEmpty(rec.Config), Description: rec.Description}, nil
}

// NetworkValue is the value of a key of a network's configuration, "" when it is not
// set. A key that there is not is an error.
func (s *System) NetworkValue(_ context.Context, name, key string) (string, error) {
	rec, err := s.managedNetwork(name)
	if err != nil {
		return "", err
	}
	value, set := rec.Config[key]
	if _, err := findNetworkKey(key); err != nil && !set {
		return "", fmt.Errorf("cannot read %s of network %s: %w", shellWord(key), name, err)
	}
	return value, nil
}

// managedNetwork reads the record of a network that a command is about.
func (s *System) managedNetwork(name string) (state.NetworkRecord, error) {
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrInvalidName) {
		err = withHint(fmt.Errorf("cannot find network %q: %w", name, ErrNotFound), "poolctl network list shows them")
	}
	return rec, err
}

// NetworkChange says what SetNetwork is to change; everything else stays.
type NetworkChange struct {
	Config      map[string]string // a key with "" is unset
	Description *string           // nil: as it is
}

// SetNetwork changes keys of a network's configuration and its description, all of
// them or none. It takes effect at once, also for running instances: their
// addresses, next hops and MTU change with the network's. What the network cannot
// be is refused before anything is changed; when a change fails, it is taken back.
func (s *System) SetNetwork(ctx context.Context, name string, c NetworkChange) error {
	return s.changeNetwork(ctx, name, func(rec *state.NetworkRecord) error {
		maps.Copy(rec.Config, c.Config)
		if c.Description != nil {
			rec.Description = *c.Description
		}
		return nil
	})
}

// ReplaceNetwork puts now in the place of a network's configuration and description,
// which must still be what was read as was; as SetNetwork otherwise.
func (s *System) ReplaceNetwork(ctx context.Context, name string, was, now NetworkConfig) error {
	return s.changeNetwork(ctx, name, func(rec *state.NetworkRecord) error {
		if !maps.Equal(rec.Config, cloneOrEmpty(was.Config)) || rec.Description != was.Description {
			return withHint(errors.New("somebody else has changed it meanwhile"), "poolctl network edit %s shows how it is now", name)
		}
		rec.Config, rec.Description = cloneOrEmpty(now.Config), now.Description
		return nil
	})
}

func (s *System) changeNetwork(ctx context.Context, name string, change func(*state.NetworkRecord) error) error {
	if err := s.changeNetworkLocked(ctx, name, change); err != nil {
		return err
	}
	s.renewResolvers(ctx, name) // not under the lock: it takes those of instances
	return nil
}

func (s *System) changeNetworkLocked(ctx context.Context, name string, change func(*state.NetworkRecord) error) error {
	unlock, err := s.lockNetworkChange(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	from, err := s.managedNetwork(name)
	if err != nil {
		return err
	}
	from.Config = cloneOrEmpty(from.Config)
	to := from
	to.Config = maps.Clone(from.Config)
	if err = change(&to); err == nil {
		err = s.applyNetwork(ctx, from, to)
	}
	if err != nil {
		return fmt.Errorf("cannot change network %s: %w", name, err)
	}
	return nil
}

// lockNetworkChange takes the locks for a change of a network's record: no interface is
// on its way to a network then, planned for what the record said before.
func (s *System) lockNetworkChange(ctx context.Context) (state.Unlock, error) {
	plugs, err := s.dir.LockNetworks(ctx, false)
	if err != nil {
		return nil, err
	}
	records, err := s.dir.LockState(ctx)
	if err != nil {
		plugs()
		return nil, err
	}
	return func() { records(); plugs() }, nil
}

// applyNetwork checks a change, makes it effective and saves it.
func (s *System) applyNetwork(ctx context.Context, from, to state.NetworkRecord) error {
	changed := map[string]string{}
	for k, v := range to.Config {
		if was, had := from.Config[k]; !had || was != v {
			changed[k] = v
		}
	}
	if err := checkNetworkKeys(changed); err != nil {
		return err
	}
	maps.DeleteFunc(to.Config, func(_, v string) bool { return v == "" })
	if err := s.fillAuto(to.Name, to.Config); err != nil {
		return err
	}
	if maps.Equal(to.Config, from.Config) {
		if to.Description == from.Description {
			return nil
		}
		return s.dir.SaveNetwork(to)
	}
	is, err := s.bridge(from)
	if err != nil {
		return err
	}
	want, err := s.checkedBridge(ctx, to)
	if err != nil {
		return err
	}
	if err := s.checkFixedAddresses(ctx, want); err != nil {
		return err
	}
	had, err := is.Reservations()
	if err != nil {
		return err
	}
	get, err := want.MovedReservations(had)
	if err != nil {
		return err
	}
	entry, err := journal.Begin(ctx, s.journalDir(), opNetworkSet, networkSetting{From: from, To: to, Had: had, Get: get})
	if err != nil {
		return err
	}
	if err = s.switchNetwork(ctx, is, want, had, get); err == nil {
		crash.Point("network.set.applied")
		err = s.dir.SaveNetwork(to)
	}
	if err != nil {
		err = errors.Join(err, s.switchNetwork(context.WithoutCancel(ctx), want, is, get, had))
	}
	return errors.Join(err, entry.Done())
}
