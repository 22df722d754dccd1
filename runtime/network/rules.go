package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"poolctl/runtime/network/firewall"
)

// rules are what is to be in the host's firewall for the network.
func (b Bridge) rules() firewall.Network {
	return firewall.Network{
		Bridge: b.Name, Isolated: b.Isolated, Forwards: b.Forwards,
		IPv4: firewall.Family{Address: b.IPv4, NAT: b.NAT4, NATAddress: b.NATAddress4, Filter: b.Firewall4, Routing: b.Routing4},
		IPv6: firewall.Family{Address: b.IPv6, NAT: b.NAT6, NATAddress: b.NATAddress6, Filter: b.Firewall6, Routing: b.Routing6},
	}
}

// syncRules makes the rules what they are to be, and lets the kernel forward
// packets if the network needs it.
func (b Bridge) syncRules(link netlink.Link) error {
	for _, f := range []struct {
		address netip.Prefix
		routing bool
	}{{b.IPv4, b.Routing4}, {b.IPv6, b.Routing6}} {
		if f.address.IsValid() && f.routing {
			if err := firewall.EnableForwarding(f.address.Addr().Is4()); err != nil {
				return err
			}
		}
	}
	if err := b.rules().Apply(); err != nil {
		return err
	}
	if len(b.Forwards) == 0 {
		return nil
	}
	ports, err := portsOf(link)
	for _, p := range ports {
		err = errors.Join(err, firewall.Hairpin(p))
	}
	return err
}

// RulesKept says whether the host's firewall has the network's rules as they are
// to be. Another program that loads its own rules may have flushed them all; Up
// sets them again.
func (b Bridge) RulesKept() (bool, error) {
	kept, err := b.rules().Applied()
	if err != nil {
		return false, fmt.Errorf("cannot check the firewall rules of network %s: %w", b.Name, err)
	}
	return kept, nil
}

// Tables are those of nftables with the network's rules.
func (b Bridge) Tables() []firewall.Table { return b.rules().Tables() }

// Obstacles are the chains of other programs that drop the network's packets.
func (b Bridge) Obstacles() ([]firewall.Obstacle, error) {
	list, err := b.rules().Obstacles()
	if err != nil {
		return nil, fmt.Errorf("cannot look for what stops the packets of network %s: %w", b.Name, err)
	}
	return list, nil
}
