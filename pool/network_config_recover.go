package pool

import (
	"context"
	"errors"
	"io/fs"
	"maps"

	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/runtime/network"
)

// opNetworkSet is the operation of an intent to change a network's configuration.
const opNetworkSet = "network-set"

// networkSetting is that intent: the network becomes another one, with its running
// instances, before that is saved.
type networkSetting struct {
	From state.NetworkRecord `json:"from"`
	To   state.NetworkRecord `json:"to"`
	// Had are the reservations before, and Get what they become.
	Had []network.Reservation `json:"had"`
	Get []network.Reservation `json:"get"`
}

// recoverNetworkSet takes back what a killed change had made effective, when it was not
// saved.
func (s *System) recoverNetworkSet(ctx context.Context, e *journal.Entry) error {
	var set networkSetting
	if err := e.Args(&set); err != nil {
		return err
	}
	unlock, err := s.lockNetworkChange(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadNetwork(set.From.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!rec.CreatedAt.Equal(set.From.CreatedAt) || !maps.Equal(rec.Config, set.From.Config)) {
		return nil // deleted, or saved
	} else if err != nil {
		return err
	}
	is, err := s.bridge(rec)
	if err != nil {
		return err
	}
	would, err := s.bridge(set.To)
	if err != nil {
		return err
	}
	return s.switchNetwork(ctx, would, is, set.Get, set.Had)
}
