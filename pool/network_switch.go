package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/runtime"
	"poolctl/runtime/network"
)

// checkFixedAddresses refuses a network on which an instance could not have the
// addresses that it asks for.
func (s *System) checkFixedAddresses(ctx context.Context, b network.Bridge) error {
	all, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, in := range all {
		for _, name := range sortedKeys(in.ExpandedDevices) {
			dev := in.ExpandedDevices[name]
			if nicBridge(dev) != b.Name {
				continue
			}
			v4, v6 := fixedAddresses(dev)
			if err := b.CheckFixed(v4, v6); err != nil {
				return withHint(fmt.Errorf("instance %s, device %s: %w", in.Name, name, err), "unset the address of the device first: poolctl config device unset %s %s ipv4.address", in.Name, name)
			}
		}
	}
	return nil
}

// switchNetwork makes the live side of a network, which is or was to be from, what to
// says, running instances included. was are the reservations on from, and now what they
// are on to. All of it may have been done in part before, by a command that was killed,
// and supervisors may have brought the network up since: nothing is taken from what
// there is.
func (s *System) switchNetwork(ctx context.Context, from, to network.Bridge, was, now []network.Reservation) error {
	if err := to.SetReservations(now); err != nil {
		return err
	}
	if err := from.ReleaseExternal(to.External); err != nil {
		return err
	}
	if err := to.Up(ctx); err != nil {
		return err
	}
	places := map[string]network.Place{}
	for _, r := range was {
		places[r.HWAddr] = from.Place(r)
	}
	var errs []error
	for _, r := range now {
		errs = append(errs, s.readdress(ctx, places[r.HWAddr], to.Place(r), r))
	}
	return errors.Join(errs...)
}

// readdress changes the interface of a running instance that has a reservation.
func (s *System) readdress(ctx context.Context, from, to network.Place, r network.Reservation) error {
	if from == to || ctx.Err() != nil {
		return ctx.Err()
	}
	in, err := s.runningInstance(r.Instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil // it finds its new addresses when it starts
	}
	if err != nil {
		return err
	}
	err = in.MoveNIC(r.HWAddr, from, to)
	if err = errors.Join(err, in.Close()); err != nil && s.isRunning(r.Instance) {
		return fmt.Errorf("cannot change the addresses of %s: %w", r.Instance, err)
	}
	return nil
}
