package network

import "net/netip"

// maxResolvers is how many resolvers the C libraries ask (resolv.conf(5), MAXNS).
const maxResolvers = 3

// Resolver is what the instance of n is told by DHCP and router advertisements of
// resolvers, at most three, and of the domains that it is to search. An address of the
// bridge in a family that n has none of is left out.
func (b Bridge) Resolver(n NIC) (servers []netip.Addr, search []string) {
	servers = b.Nameservers
	if servers == nil {
		if n.IPv4.IsValid() && b.IPv4.IsValid() {
			servers = append(servers, b.IPv4.Addr())
		}
		if n.IPv6.IsValid() && b.IPv6.IsValid() {
			servers = append(servers, b.IPv6.Addr())
		}
	}
	if search = b.Search; search == nil && b.domain() != "" {
		search = []string{b.domain()}
	}
	return servers[:min(len(servers), maxResolvers)], search
}
