package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"poolctl/runtime"
	"poolctl/runtime/network/firewall"
	"poolctl/runtime/proxy"
)

// A port of the host leads to one place: to where a proxy device, with nat=true or
// without, or a network's forward has it lead.

// checkProxies refuses proxy devices of one instance that listen on the same, or where a
// network has a forward. Those that a change does not change are not looked at.
func (s *System) checkProxies(devices map[string]map[string]string, changed []string) error {
	var all []proxy.Device
	for _, n := range sortedKeys(devices) {
		if !isProxy(devices[n]) {
			continue
		}
		d, err := proxyOf(n, devices[n])
		if err == nil {
			all = append(all, d)
		}
	}
	for i, d := range all {
		for _, other := range all[:i] {
			what, yes := d.Listen.Overlaps(other.Listen)
			if yes && d.Inside == other.Inside && (slices.Contains(changed, d.Name) || slices.Contains(changed, other.Name)) {
				return fmt.Errorf("devices %s and %s both listen on %s", other.Name, d.Name, what)
			}
		}
	}
	return s.notForwarded(slices.DeleteFunc(all, func(d proxy.Device) bool { return !slices.Contains(changed, d.Name) }))
}

// proxiesFree refuses devices that listen on the host where a device of another running
// instance does, or a network has a forward, which the kernel would say less well, or not
// at all.
func (s *System) proxiesFree(instance string, devices []proxy.Device) error {
	if len(devices) == 0 {
		return nil
	}
	if err := s.notForwarded(devices); err != nil {
		return err
	}
	names, err := s.liveNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == instance {
			continue
		}
		live, err := s.runningInstance(name)
		if errors.Is(err, runtime.ErrNotRunning) {
			continue
		} else if err != nil {
			return err
		}
		others, err := live.Proxies()
		if err = errors.Join(err, live.Close()); err != nil {
			return err
		}
		for _, d := range devices {
			for _, other := range others {
				if what, yes := d.Listen.Overlaps(other.Listen); yes && !d.Inside && !other.Inside {
					return fmt.Errorf("device %s: device %s of instance %s listens on %s", d.Name, other.Name, name, what)
				}
			}
		}
	}
	return nil
}

// notForwarded refuses devices that listen on the host where a network has a forward: the
// kernel translates addresses before anything that listens sees the packets.
func (s *System) notForwarded(devices []proxy.Device) error {
	devices = slices.DeleteFunc(slices.Clone(devices), func(d proxy.Device) bool { return d.Inside || d.Listen.Kind == proxy.Unix })
	if len(devices) == 0 {
		return nil
	}
	names, err := s.dir.ListNetworks()
	if err != nil {
		return err
	}
	for _, name := range names {
		rec, err := s.dir.LoadNetwork(name)
		if err != nil {
			return err
		}
		forwards, err := forwardRules(rec.Forwards)
		if err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
		for _, d := range devices {
			for _, f := range forwards {
				if what, yes := takes(f, d); yes {
					return withHint(fmt.Errorf("device %s: forward %s of network %s has %s", d.Name, f.Listen, name, what), "poolctl network forward show %s %s", name, f.Listen)
				}
			}
		}
	}
	return nil
}

// notProxied refuses forwards of what a proxy device of an instance, running or not,
// listens on.
func (s *System) notProxied(ctx context.Context, forwards []firewall.Forward) error {
	if len(forwards) == 0 {
		return nil
	}
	all, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, in := range all {
		for _, n := range sortedKeys(in.ExpandedDevices) {
			dev := in.ExpandedDevices[n]
			if !isProxy(dev) {
				continue
			}
			d, err := proxyOf(n, dev)
			if err != nil {
				continue // it cannot start
			}
			for _, f := range forwards {
				if what, yes := takes(f, d); yes {
					return fmt.Errorf("forward %s: device %s of instance %s listens on %s", f.Listen, n, in.Name, what)
				}
			}
		}
	}
	return nil
}

// takes says whether a forward takes what a device listens on, and names what.
func takes(f firewall.Forward, d proxy.Device) (what string, yes bool) {
	if d.Inside || f.Protocol != "" && f.Protocol != d.Listen.Kind {
		return "", false
	}
	taken := proxy.Address{Kind: d.Listen.Kind, IP: f.Listen}
	for _, p := range d.Listen.Ports {
		if f.Protocol == "" || f.Ports.First <= p && p <= f.Ports.Last {
			taken.Ports = append(taken.Ports, p)
		}
	}
	return d.Listen.Overlaps(taken)
}
