package network

import (
	"fmt"
	"net/netip"
)

// CheckFixed refuses addresses that no instance of the network can have: outside
// of its subnet, or the bridge's own. The zero Addr is none.
func (b Bridge) CheckFixed(v4, v6 netip.Addr) error {
	for _, f := range []struct {
		addr   netip.Addr
		subnet netip.Prefix
		family string
	}{{v4, b.IPv4, "IPv4"}, {v6, b.IPv6, "IPv6"}} {
		switch {
		case !f.addr.IsValid():
		case !f.subnet.IsValid():
			return fmt.Errorf("%s: network %s has no %s", f.addr, b.Name, f.family)
		case !f.subnet.Contains(f.addr):
			return fmt.Errorf("%s is not in %s, the subnet of network %s", f.addr, f.subnet.Masked(), b.Name)
		case f.addr == f.subnet.Addr():
			return fmt.Errorf("%s is the address of network %s itself", f.addr, b.Name)
		case f.addr == f.subnet.Masked().Addr(), f.addr.Is4() && f.addr == broadcast(f.subnet):
			return fmt.Errorf("%s is no host's address in %s", f.addr, f.subnet.Masked())
		}
	}
	return nil
}
