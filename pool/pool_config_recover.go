package pool

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// opSet is the operation of an intent to change a pool's configuration.
const opSet = "pool-set"

// setting is that intent, for what is made effective before it is saved.
type setting struct {
	Name string            `json:"name"`
	UUID string            `json:"uuid"`
	From map[string]string `json:"from"`
	To   map[string]string `json:"to"`
}

// beginSet notes a change that makes something effective; nil when it does not.
func (s *System) beginSet(ctx context.Context, from, to state.PoolRecord, changed []poolKey) (*journal.Entry, error) {
	if !slices.ContainsFunc(changed, func(k poolKey) bool { return k.apply != nil }) {
		return nil, nil
	}
	return journal.Begin(ctx, s.journalDir(), opSet, setting{Name: to.Name, UUID: to.UUID, From: from.Config, To: to.Config})
}

// recoverSet takes back what a killed change had made effective, when it was not
// saved.
func (s *System) recoverSet(ctx context.Context, e *journal.Entry) error {
	var set setting
	if err := e.Args(&set); err != nil {
		return err
	}
	unlock, err := s.dir.LockPool(ctx, set.Name, true)
	if err != nil {
		return err
	}
	defer unlock()
	unlockState, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlockState()
	rec, err := s.dir.LoadPool(set.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (rec.UUID != set.UUID || !maps.Equal(rec.Config, set.From)) {
		return nil // deleted, or saved
	} else if err != nil {
		return err
	}
	undone := rec
	undone.Config = set.To
	changed, err := checkPoolChange(rec, undone)
	if err != nil {
		return err
	}
	slices.Reverse(changed)
	for _, k := range changed {
		if k.apply != nil {
			err = errors.Join(err, k.apply(context.WithoutCancel(ctx), s, undone, rec))
		}
	}
	return err
}
