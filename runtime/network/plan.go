package network

import "net/netip"

// Plan gives a NIC its place on the network: the bridge, the reserved addresses
// with the length of their networks, and the bridge's own addresses as the next
// hops. An address that is not valid leaves its family out.
func (b Bridge) Plan(n NIC, v4, v6 netip.Addr) NIC {
	n.Bridge = b.Name
	if v4.IsValid() && b.IPv4.IsValid() {
		n.IPv4, n.Gateway4 = netip.PrefixFrom(v4, b.IPv4.Bits()), b.IPv4.Addr()
	}
	if v6.IsValid() && b.IPv6.IsValid() {
		n.IPv6, n.Gateway6 = netip.PrefixFrom(v6, b.IPv6.Bits()), b.IPv6.Addr()
	}
	return n
}
