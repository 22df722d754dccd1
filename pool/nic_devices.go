package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

// checkNIC validates one nic by itself and against the host: its keys, its network
// or parent, and that the addresses given are ones that the network has to give.
func (s *System) checkNIC(dev map[string]string) error {
	if err := checkNICKeys(dev); err != nil {
		return err
	}
	kind := nicKind(dev)
	if dev["network"] != "" && dev["nictype"] != "" && dev["nictype"] != string(network.Bridged) {
		return fmt.Errorf("nictype=%s is not what network=%s is", dev["nictype"], shellWord(dev["network"]))
	}
	if dev["network"] != "" && dev["parent"] != "" {
		return errors.New("it has network and parent, which both name a bridge")
	}
	if dev["parent"] == "lo" {
		return errors.New("parent=lo: the loopback is of no use to others")
	}
	switch kind {
	case network.Bridged:
		return s.checkBridged(dev)
	case network.Macvlan, network.Physical:
		if dev["parent"] == "" {
			return withHint(fmt.Errorf("a %s nic has no parent", kind), "parent=NAME, an interface of the host's: ip link")
		}
	case network.Routed:
		return s.checkRouted(dev)
	}
	if kind == network.Macvlan {
		return checkParent(dev["parent"])
	}
	return nil
}

// checkParent refuses an interface that the host has not.
func checkParent(name string) error {
	if name == "" {
		return nil
	}
	return network.CheckLink(name)
}

// checkBridged is checkNIC for what is on a bridge.
func (s *System) checkBridged(dev map[string]string) error {
	if nicBridge(dev) == "" {
		return withHint(errors.New("a bridged nic has neither network nor parent"), "network=NAME: poolctl network list")
	}
	rec, managed, err := s.nicNetwork(dev)
	if err != nil {
		return err
	}
	if !managed {
		return checkUnmanaged(dev)
	}
	bridge, err := s.bridge(rec)
	if err != nil {
		return err
	}
	return bridge.CheckFixed(fixedAddresses(dev))
}

// checkUnmanaged refuses keys that need a network whose addresses poolctl gives.
func checkUnmanaged(dev map[string]string) error {
	for _, f := range ipFamilies {
		if v := dev[f.key+".address"]; v != "" && v != "none" {
			return fmt.Errorf("%s.address=%s: bridge %s is no network of poolctl's, which gives no addresses there", f.key, v, dev["parent"])
		}
		if key := "security." + f.key + "_filtering"; isTrue(dev[key]) && dev[f.key+".address"] != "none" {
			return fmt.Errorf("%s: bridge %s is no network of poolctl's, which does not know its addresses", key, dev["parent"])
		}
	}
	return network.CheckBridge(dev["parent"])
}

// checkRouted is checkNIC for what the host routes to.
func (s *System) checkRouted(dev map[string]string) error {
	v4, v6, err := routedAddresses(dev)
	if err != nil {
		return err
	}
	if len(v4)+len(v6) == 0 {
		return withHint(errors.New("a routed nic has no address"), "ipv4.address=ADDRESS or ipv6.address=ADDRESS")
	}
	for i, f := range ipFamilies {
		own := [][]netip.Addr{v4, v6}[i]
		for _, key := range []string{"routes", "host_address", "host_table", "gateway"} {
			if k := f.key + "." + key; dev[k] != "" && len(own) == 0 {
				return fmt.Errorf("%s without %s.address", k, f.key)
			}
		}
		if host, err := netip.ParseAddr(dev[f.key+".host_address"]); err == nil {
			for _, a := range own {
				if a == host {
					return fmt.Errorf("%s.address and %s.host_address are both %s", f.key, f.key, a)
				}
			}
		}
	}
	return checkParent(dev["parent"])
}

// routedAddresses are the addresses that a routed nic gives.
func routedAddresses(dev map[string]string) (v4, v6 []netip.Addr, err error) {
	if v4, err = ipFamilies[0].addresses(dev["ipv4.address"]); err == nil {
		v6, err = ipFamilies[1].addresses(dev["ipv6.address"])
	}
	return v4, v6, err
}

// nicNetwork is the network of a bridged nic; managed is false for a bridge of the
// host's that poolctl has not made.
func (s *System) nicNetwork(dev map[string]string) (rec state.NetworkRecord, managed bool, err error) {
	name := nicBridge(dev)
	rec, err = s.loadNetwork(name)
	if err != nil && dev["network"] == "" && (errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist)) {
		return rec, false, nil
	}
	return rec, err == nil, err
}

// nicHWAddr is the hardware address that a nic has; "" before it was given one.
func nicHWAddr(config map[string]string, name string, dev map[string]string) string {
	if dev["hwaddr"] != "" {
		return dev["hwaddr"]
	}
	return config[volatilePrefix+name+hwaddrSuffix]
}

// innerName is the name that a nic has inside.
func innerName(name string, dev map[string]string) string {
	if dev["name"] != "" {
		return dev["name"]
	}
	return name
}

// nicsOf are the names of the nics among devices, sorted.
func nicsOf(devices map[string]map[string]string) (out []string) {
	for _, n := range sortedKeys(devices) {
		if devices[n]["type"] == "nic" {
			out = append(out, n)
		}
	}
	return out
}

// checkNICs refuses nics among the changed devices of an instance that want what
// another has.
func (s *System) checkNICs(ctx context.Context, in tree.Instance, changed []string) error {
	if !slices.ContainsFunc(changed, func(n string) bool { return in.ExpandedDevices[n]["type"] == "nic" }) {
		return nil
	}
	var others []tree.Instance
	if slices.ContainsFunc(changed, func(n string) bool { return namesIdentity(in.ExpandedDevices[n]) }) {
		var err error
		if others, err = s.records(ctx); err != nil {
			return err
		}
	}
	return checkNICConflicts(in, others, changed)
}

// namesIdentity says whether a nic asks for something that another may have. What
// it is given is random, or reserved.
func namesIdentity(dev map[string]string) bool {
	return slices.ContainsFunc([]string{"hwaddr", "host_name", "ipv4.address", "ipv6.address"}, func(k string) bool { return dev[k] != "" })
}

// checkNICConflicts refuses nics, those named in changed, that want what another of the same
// instance or of another instance has: a name inside, a name on the host, a hardware
// address or an address on the same network, a physical parent.
func checkNICConflicts(in tree.Instance, others []tree.Instance, changed []string) error {
	for _, n := range changed {
		dev := in.ExpandedDevices[n]
		if dev["type"] != "nic" {
			continue
		}
		inner := innerName(n, dev)
		if err := checkInnerName(inner); err != nil {
			return withHint(fmt.Errorf("device %s: %w", n, err), "name=eth1 is its name inside")
		}
		for _, o := range nicsOf(in.ExpandedDevices) {
			other := in.ExpandedDevices[o]
			if o == n {
				continue
			}
			if innerName(o, other) == inner {
				return fmt.Errorf("device %s: device %s is named %s inside already", n, o, inner)
			}
			if dev["nictype"] == string(network.Physical) && other["nictype"] == dev["nictype"] && dev["parent"] == other["parent"] {
				return fmt.Errorf("device %s: device %s has the host's interface %s already", n, o, dev["parent"])
			}
			if err := sharedIdentity(in, n, in, o); err != nil {
				return fmt.Errorf("device %s: %w", n, err)
			}
		}
		for _, other := range others {
			if other.Name == in.Name {
				continue
			}
			for _, o := range nicsOf(other.ExpandedDevices) {
				if err := sharedIdentity(in, n, other, o); err != nil {
					return fmt.Errorf("device %s: %w", n, err)
				}
			}
		}
	}
	return nil
}

// sharedIdentity says what of a nic another has already.
func sharedIdentity(in tree.Instance, n string, other tree.Instance, o string) error {
	a, b := in.ExpandedDevices[n], other.ExpandedDevices[o]
	whose := "device " + o + " of " + other.Name
	if a["host_name"] != "" && a["host_name"] == b["host_name"] {
		return fmt.Errorf("host_name=%s is that of %s already", a["host_name"], whose)
	}
	if nicKind(a) == network.Routed && nicKind(b) == network.Routed {
		a4, a6, _ := routedAddresses(a)
		b4, b6, _ := routedAddresses(b)
		for _, x := range append(a4, a6...) {
			for _, y := range append(b4, b6...) {
				if x == y {
					return fmt.Errorf("address %s is that of %s already", x, whose)
				}
			}
		}
	}
	segment := nicSegment(a)
	if segment == "" || segment != nicSegment(b) {
		return nil
	}
	if x, y := nicHWAddr(in.Config, n, a), nicHWAddr(other.Config, o, b); sameHWAddr(x, y) {
		return fmt.Errorf("hwaddr %s is that of %s already, on %s", x, whose, segment)
	}
	a4, a6 := fixedAddresses(a)
	b4, b6 := fixedAddresses(b)
	if a4.IsValid() && a4 == b4 || a6.IsValid() && a6 == b6 {
		if a4 != b4 || !a4.IsValid() {
			a4 = a6
		}
		return fmt.Errorf("address %s is that of %s already", a4, whose)
	}
	return nil
}

// nicSegment is the link on which a nic's hardware address must be its own.
func nicSegment(dev map[string]string) string {
	if nicKind(dev) == network.Macvlan {
		return dev["parent"]
	}
	return nicBridge(dev)
}
