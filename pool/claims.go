package pool

import (
	"context"
	"slices"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/runtime/proxy"
)

// lockClaims takes the lock of what instances claim of the host if a change of devices
// changes any of that. Who has it checks the change, and records it before it gives the
// lock back.
func (s *System) lockClaims(ctx context.Context, was, now map[string]map[string]string) (state.Unlock, error) {
	claims := func(dev map[string]string) bool { return isProxy(dev) || isNIC(dev) && namesIdentity(dev) }
	if !slices.ContainsFunc(changedDevices(was, now), func(n string) bool { return claims(now[n]) }) {
		return func() {}, nil
	}
	return s.dir.LockClaims(ctx, false)
}

// claimNew refuses an instance that is to be made with nics that want what another has,
// and keeps others from wanting the same until the result is called, when it is made.
func (s *System) claimNew(ctx context.Context, in tree.Instance) (state.Unlock, error) {
	unlock := state.Unlock(func() {})
	nics := nicsOf(in.ExpandedDevices)
	if slices.ContainsFunc(nics, func(n string) bool { return namesIdentity(in.ExpandedDevices[n]) }) {
		var err error
		if unlock, err = s.dir.LockClaims(ctx, false); err != nil {
			return nil, err
		}
	}
	if err := s.checkNICs(ctx, in, nics); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// claimListens refuses proxy devices of an instance that starts which listen where others
// do, and keeps others from listening there until the result is called, when the instance
// runs. Sockets with a port are refused to a second one by the kernel; its own rules are
// not, nor is the path of a socket.
func (s *System) claimListens(ctx context.Context, instance string, devices []proxy.Device) (state.Unlock, error) {
	devices = slices.DeleteFunc(slices.Clone(devices), func(d proxy.Device) bool { return d.Inside })
	if len(devices) == 0 {
		return func() {}, nil
	}
	alone := slices.ContainsFunc(devices, func(d proxy.Device) bool { return d.NAT || d.Listen.Kind == proxy.Unix })
	unlock, err := s.dir.LockClaims(ctx, !alone)
	if err != nil {
		return nil, err
	}
	if err := s.proxiesFree(instance, devices); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}
