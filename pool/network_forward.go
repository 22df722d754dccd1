package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"

	"poolctl/pool/state"
)

type (
	// NetworkForward is an address of the host that is published for instances on
	// a network.
	NetworkForward = state.NetworkForward
	// NetworkForwardPort is where one or more of its ports lead.
	NetworkForwardPort = state.NetworkForwardPort
)

// NetworkForwards lists what a network publishes.
func (s *System) NetworkForwards(name string) ([]NetworkForward, error) {
	rec, err := s.loadNetwork(name)
	if err != nil {
		return nil, fmt.Errorf("cannot list the forwards of %w", err)
	}
	return rec.Forwards, nil
}

// NetworkForward shows what a network publishes of an address.
func (s *System) NetworkForward(name, listen string) (NetworkForward, error) {
	rec, err := s.loadNetwork(name)
	if err == nil {
		var i int
		if i, err = findForward(rec, listen); err == nil {
			return rec.Forwards[i], nil
		}
	}
	return NetworkForward{}, fmt.Errorf("cannot find forward %s of network %s: %w", listen, name, err)
}

// findForward is the place of an address's forward in the record.
func findForward(rec state.NetworkRecord, listen string) (int, error) {
	if i := slices.IndexFunc(rec.Forwards, func(f NetworkForward) bool { return sameAddress(f.ListenAddress, listen) }); i >= 0 {
		return i, nil
	}
	return 0, withHint(ErrNotFound, "poolctl network forward list %s shows them", rec.Name)
}

func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x == y
}

// CreateNetworkForward publishes an address of the host for a network.
func (s *System) CreateNetworkForward(ctx context.Context, name string, f NetworkForward) error {
	err := s.changeForwards(ctx, name, func(rec *state.NetworkRecord) error {
		if _, err := findForward(*rec, f.ListenAddress); err == nil {
			return ErrExists
		}
		rec.Forwards = append(rec.Forwards, f)
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot create forward %s of network %s: %w", f.ListenAddress, name, err)
	}
	return nil
}

// ChangeNetworkForward changes what a network publishes of an address.
func (s *System) ChangeNetworkForward(ctx context.Context, name, listen string, change func(*NetworkForward) error) error {
	err := s.changeForwards(ctx, name, func(rec *state.NetworkRecord) error {
		i, err := findForward(*rec, listen)
		if err != nil {
			return err
		}
		return change(&rec.Forwards[i])
	})
	if err != nil {
		return fmt.Errorf("cannot change forward %s of network %s: %w", listen, name, err)
	}
	return nil
}

// DeleteNetworkForward publishes an address no more.
func (s *System) DeleteNetworkForward(ctx context.Context, name, listen string) error {
	err := s.changeForwards(ctx, name, func(rec *state.NetworkRecord) error {
		i, err := findForward(*rec, listen)
		if err == nil {
			rec.Forwards = slices.Delete(rec.Forwards, i, i+1)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot delete forward %s of network %s: %w", listen, name, err)
	}
	return nil
}

// changeForwards changes a network's record, checks what came out, makes it
// effective if the network is up, and saves it; on failure all is as before.
func (s *System) changeForwards(ctx context.Context, name string, change func(*state.NetworkRecord) error) error {
	unlockClaims, err := s.dir.LockClaims(ctx, false)
	if err != nil {
		return err
	}
	defer unlockClaims()
	unlock, err := s.lockNetworkChange(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("network %w", ErrNotFound), "poolctl network list shows them")
	} else if err != nil {
		return err
	}
	was, err := s.bridge(rec)
	if err != nil {
		return err
	}
	rec.Forwards = cloneForwards(rec.Forwards)
	if err := change(&rec); err != nil {
		return err
	}
	for i := range rec.Forwards {
		maps.DeleteFunc(rec.Forwards[i].Config, func(_, v string) bool { return v == "" })
	}
	now, err := s.bridge(rec)
	if err != nil {
		return err
	}
	if err := s.checkForwards(ctx, now, rec.Forwards); err != nil {
		return err
	}
	up, err := now.IsUp()
	if err != nil {
		return err
	}
	if up {
		if err := now.Up(ctx); err != nil {
			return errors.Join(err, was.Up(context.WithoutCancel(ctx)))
		}
	}
	if err := s.dir.SaveNetwork(rec); err != nil {
		if up {
			err = errors.Join(err, was.Up(context.WithoutCancel(ctx)))
		}
		return err
	}
	return nil
}

func cloneForwards(list []NetworkForward) []NetworkForward {
	out := slices.Clone(list)
	for i := range out {
		out[i].Config, out[i].Ports = maps.Clone(out[i].Config), slices.Clone(out[i].Ports)
	}
	return out
}
