package pool

import (
	"context"
	"net/netip"
)

// NetworkLease is an address of a network and whose it is: Incus's fields.
type NetworkLease struct {
	Hostname string `json:"hostname" yaml:"hostname"`
	Hwaddr   string `json:"hwaddr" yaml:"hwaddr"`
	Address  string `json:"address" yaml:"address"`
	Type     string `json:"type" yaml:"type"` // static (a device asks for it), dynamic or gateway
	Location string `json:"location" yaml:"location"`
}

// NetworkLeases lists the addresses of a network: its own, and those that are
// reserved for instances, whether they run or not.
func (s *System) NetworkLeases(ctx context.Context, name string) ([]NetworkLease, error) {
	rec, err := s.managedNetwork(name)
	if err != nil {
		return nil, err
	}
	b, err := s.bridge(rec)
	if err != nil {
		return nil, err
	}
	fixed, err := s.fixedOn(ctx, name)
	if err != nil {
		return nil, err
	}
	leases := []NetworkLease{}
	for _, p := range []netip.Prefix{b.IPv4, b.IPv6} {
		if p.IsValid() {
			leases = append(leases, NetworkLease{Hostname: name + ".gw", Address: p.Addr().String(), Type: "gateway"})
		}
	}
	reserved, err := b.Reservations()
	if err != nil {
		return nil, err
	}
	for _, r := range reserved {
		for _, a := range []netip.Addr{r.IPv4, r.IPv6} {
			kind := "dynamic"
			if fixed[a] {
				kind = "static"
			}
			if a.IsValid() {
				leases = append(leases, NetworkLease{Hostname: r.Instance, Hwaddr: r.HWAddr, Address: a.String(), Type: kind})
			}
		}
	}
	return leases, nil
}

// fixedOn are the addresses that devices on a network ask for.
func (s *System) fixedOn(ctx context.Context, name string) (map[netip.Addr]bool, error) {
	all, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	fixed := map[netip.Addr]bool{}
	for _, in := range all {
		for _, dev := range in.ExpandedDevices {
			if nicBridge(dev) == name {
				v4, v6 := fixedAddresses(dev)
				fixed[v4], fixed[v6] = v4.IsValid(), v6.IsValid()
			}
		}
	}
	return fixed, nil
}
