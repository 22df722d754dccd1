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
// says, running instances included. kept are the reservations as they were when it
// was that before; nil for what becomes of those that there are.
func (s *System) switchNetwork(ctx context.Context, from, to network.Bridge, kept []network.Reservation) error {
	was, err := from.Reservations()
	if err != nil {
		return err
	}
	if err := to.RestoreReservations(kept); err != nil {
		return err
	}
	if err := from.ReleaseExternal(to.External); err != nil {
		return err
	}
	if err := to.Up(ctx); err != nil {
		return err
	}
	now, err := to.Reservations()
	if err != nil {
		return err
	}
	errs := []error{}
	for _, r := range now {
		for _, old := range was {
			if old.HWAddr == r.HWAddr {
				errs = append(errs, s.readdress(ctx, from.Place(old), to.Place(r), r))
			}
		}
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
