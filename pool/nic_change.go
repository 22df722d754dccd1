package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"poolctl/pool/crash"
	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/runtime"
	"poolctl/runtime/network"
)

// isNIC says whether a device is a network interface.
func isNIC(dev map[string]string) bool { return dev["type"] == "nic" }

// changedNICs names the devices that are a nic before or after a change of them.
func changedNICs(was, now map[string]map[string]string) []string {
	return slices.DeleteFunc(changedDevices(was, now), func(n string) bool { return !isNIC(was[n]) && !isNIC(now[n]) })
}

// plugNICs makes a change of the nics of an instance effective, and returns how to
// take it back: interfaces are added to, changed in, and taken from an instance that
// runs, and what is not used any more of addresses is given back.
func (s *System) plugNICs(ctx context.Context, in *lockedInstance, was, now map[string]map[string]string) (undo func(context.Context) error, err error) {
	names := changedNICs(was, now)
	var steps undoSteps
	if len(names) == 0 {
		return steps.run, nil
	}
	unlock, err := s.dir.LockNetworks(ctx, true)
	if err != nil {
		return nil, err
	}
	defer unlock()
	live, err := s.runningInstance(in.rec.Name)
	if err == nil {
		steps, err = s.replugNICs(ctx, in, live, now, names)
		err = errors.Join(err, live.Close())
	} else if errors.Is(err, runtime.ErrNotRunning) {
		err = nil
	}
	if err != nil {
		return nil, steps.failed(ctx, err)
	}
	for _, n := range names {
		if !isNIC(was[n]) || nicSegment(was[n]) == nicSegment(now[n]) && sameHWAddr(nicHWAddr(in.rec.Config, n, was[n]), nicHWAddr(in.rec.Config, n, now[n])) {
			continue
		}
		if err := s.releaseNIC(in.rec, n, was[n]); err != nil {
			s.noticef("the address of device %s stays reserved: %s", n, err)
		}
	}
	return steps.run, nil
}

// replugNICs makes the named nics of a running instance what now says, and returns
// how to undo what it did, also when it fails.
func (s *System) replugNICs(ctx context.Context, in *lockedInstance, live *runtime.Instance, now map[string]map[string]string, names []string) (steps undoSteps, err error) {
	had, err := live.NICs()
	if err != nil {
		return nil, err
	}
	before := maps.Clone(in.rec.Config)
	steps.add(func(context.Context) error {
		return errors.Join(s.releaseNew(in, had, now, names), s.reserveAgain(had, in.rec.Name, names), s.forgetIdentity(in, before, names))
	})
	if err := s.releaseChanged(in, had, now, names, &steps); err != nil {
		return steps, err
	}
	come, err := s.plannedNICs(ctx, in, now, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !isNIC(now[n]) }))
	if err != nil {
		return steps, err
	}
	again := func(do func(live *runtime.Instance) error) {
		steps.add(s.ifRunning(in.rec.Name, func(_ context.Context, live *runtime.Instance) error { return do(live) }))
	}
	for _, n := range names { // first all that goes: a name inside may be free then
		at := slices.IndexFunc(had, func(h network.NIC) bool { return h.Device == n })
		to := slices.IndexFunc(come, func(c network.NIC) bool { return c.Device == n })
		if at < 0 {
			continue
		}
		old := had[at]
		if to >= 0 && old.SameBut(come[to]) {
			if err := live.UpdateNIC(come[to]); err != nil {
				return steps, fmt.Errorf("device %s: %w", n, err)
			}
			again(func(live *runtime.Instance) error { return live.UpdateNIC(old) })
			come = slices.Delete(come, to, to+1)
			continue
		}
		again(func(live *runtime.Instance) error { // also when only a part of it is gone
			old.Was = nil
			return errors.Join(live.DetachNIC(old.Device), live.AttachNIC(context.WithoutCancel(ctx), old))
		})
		if err := live.DetachNIC(n); err != nil {
			return steps, fmt.Errorf("device %s: %w", n, err)
		}
		crash.Point("pool.nic.detached")
	}
	for _, c := range come {
		if err := live.AttachNIC(ctx, c); err != nil {
			return steps, fmt.Errorf("device %s: %w", c.Device, err)
		}
		again(func(live *runtime.Instance) error { return live.DetachNIC(c.Device) })
		crash.Point("pool.nic.attached")
	}
	return steps, nil
}

// releaseChanged gives back what is reserved for hardware addresses that named nics, of
// which had says what they were, are to have no more: the new ones may ask for the same
// addresses. When it is taken back, those of the new ones are given back.
func (s *System) releaseChanged(in *lockedInstance, had []network.NIC, now map[string]map[string]string, names []string, steps *undoSteps) error {
	for _, n := range had {
		dev := now[n.Device]
		if !slices.Contains(names, n.Device) || !isNIC(dev) || nicBridge(dev) != n.Bridge || sameHWAddr(nicHWAddr(in.rec.Config, n.Device, dev), n.HWAddr) {
			continue
		}
		steps.add(func(context.Context) error { return s.releaseNIC(in.rec, n.Device, dev) })
		if err := s.releaseHWAddr(n.Bridge, n.HWAddr); err != nil {
			return fmt.Errorf("device %s: %w", n.Device, err)
		}
	}
	return nil
}

// releaseNew gives back what is reserved for named nics that now has, and of which there were none before.
func (s *System) releaseNew(in *lockedInstance, had []network.NIC, now map[string]map[string]string, names []string) error {
	var errs []error
	for _, n := range names {
		if isNIC(now[n]) && !slices.ContainsFunc(had, func(h network.NIC) bool { return h.Device == n }) {
			errs = append(errs, s.releaseNIC(in.rec, n, now[n]))
		}
	}
	return errors.Join(errs...)
}

// reserveAgain reserves the addresses that named nics of an instance had.
func (s *System) reserveAgain(had []network.NIC, instance string, names []string) error {
	on := map[string][]network.Ask{}
	for _, n := range had {
		if slices.Contains(names, n.Device) && n.Bridge != "" {
			on[n.Bridge] = append(on[n.Bridge], network.Ask{Device: n.Device, HWAddr: n.HWAddr, IPv4: n.IPv4.Addr(), IPv6: n.IPv6.Addr()})
		}
	}
	var errs []error
	for name, asks := range on {
		rec, err := s.dir.LoadNetwork(name)
		if err != nil {
			continue // a bridge of the host's
		}
		b, err := s.bridge(rec)
		if err == nil {
			_, err = b.ReserveAll(instance, asks)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forgetIdentity takes from the record what named nics were given by identifyNICs that
// they had not before.
func (s *System) forgetIdentity(in *lockedInstance, before map[string]string, names []string) error {
	var given []string
	for _, n := range names {
		for _, k := range []string{volatilePrefix + n + hwaddrSuffix, volatilePrefix + n + hostNameSuffix} {
			if before[k] == "" && in.rec.Config[k] != "" {
				given = append(given, k)
			}
		}
	}
	if len(given) == 0 {
		return nil
	}
	rec, err := in.UpdateInstance(in.rec.Name, func(r *tree.Instance) error {
		for _, k := range given {
			delete(r.Config, k)
		}
		return s.reexpandKnown(r)
	})
	if err == nil {
		in.rec = rec
	}
	return err
}

// releaseNIC gives back the addresses that are reserved for a nic.
func (s *System) releaseNIC(rec tree.Instance, name string, dev map[string]string) error {
	return s.releaseHWAddr(nicBridge(dev), nicHWAddr(rec.Config, name, dev))
}

// releaseHWAddr gives back the addresses that are reserved for a hardware address on a
// bridge, if there are any.
func (s *System) releaseHWAddr(on, hwaddr string) error {
	if hwaddr == "" || on == "" {
		return nil
	}
	net, err := s.dir.LoadNetwork(on)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrInvalidName) {
		return nil // a bridge of the host's, or the network is gone with its reservations
	} else if err != nil {
		return err
	}
	bridge, err := s.bridge(net)
	if err != nil {
		return err
	}
	return bridge.Release(hwaddr)
}

// dropIdentity removes from a record what told nics that it has no more.
func dropIdentity(r *tree.Instance, was, now map[string]map[string]string) {
	for _, n := range changedNICs(was, now) {
		if !isNIC(now[n]) {
			delete(r.Config, volatilePrefix+n+hwaddrSuffix)
			delete(r.Config, volatilePrefix+n+hostNameSuffix)
		}
	}
}

// changeIdentity is dropIdentity that also gives nics that are new what they are told by, as LXD does before they are
// plugged in for the first time.
func changeIdentity(r *tree.Instance, was, now map[string]map[string]string) {
	dropIdentity(r, was, now)
	for _, n := range changedNICs(was, now) {
		if isNIC(now[n]) {
			identifyNIC(n, now[n], r.Config, r.Config)
		}
	}
}

// settleNICs has a running instance, which may have the nics of other, have of the named
// devices the nics that want says: those that a change may have touched are made anew.
func (s *System) settleNICs(ctx context.Context, in *lockedInstance, live *runtime.Instance, want, other map[string]map[string]string, names []string) error {
	for _, n := range names { // want's may ask for the same addresses
		if isNIC(other[n]) && !sameHWAddr(nicHWAddr(in.rec.Config, n, other[n]), nicHWAddr(in.rec.Config, n, want[n])) {
			if err := s.releaseNIC(in.rec, n, other[n]); err != nil {
				return err
			}
		}
	}
	unlock, err := s.dir.LockNetworks(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	planned, err := s.plannedNICs(ctx, in, want, slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !isNIC(want[n]) }))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := live.DetachNIC(n); err != nil {
			return err
		}
	}
	var errs []error
	for _, p := range planned {
		errs = append(errs, live.AttachNIC(ctx, p))
	}
	return errors.Join(errs...)
}
