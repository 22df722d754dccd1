package network

import "net/netip"

// Plan gives a NIC its place on the network: the bridge, the reserved addresses
// with the length of their networks, and the bridge's own addresses as the next
// hops. An address that is not valid leaves its family out, as NoIPv4 and NoIPv6 do.
func (b Bridge) Plan(n NIC, v4, v6 netip.Addr) NIC {
	n.Bridge, n.Hairpin = b.Name, len(b.Forwards) > 0
	if !n.NoIPv4 && v4.IsValid() && b.IPv4.IsValid() {
		n.IPv4, n.Gateway4 = netip.PrefixFrom(v4, b.IPv4.Bits()), b.gateway4()
	}
	if !n.NoIPv6 && v6.IsValid() && b.IPv6.IsValid() {
		n.IPv6, n.Gateway6 = netip.PrefixFrom(v6, b.IPv6.Bits()), b.IPv6.Addr()
	}
	return n
}

// gateway4 is the gateway that instances have; the zero Addr for none.
func (b Bridge) gateway4() netip.Addr {
	switch {
	case b.NoGateway4:
		return netip.Addr{}
	case b.Gateway4.IsValid():
		return b.Gateway4
	}
	return b.IPv4.Addr()
}
