package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"poolctl/runtime/network"
)

// What the address keys take besides an address.
const (
	autoAddress = "auto"
	noAddress   = "none"
)

// ipv4Keys are those of IPv4.
func ipv4Keys() []NetworkKey {
	return append(familyKeys("ipv4", true),
		NetworkKey{
			Name: "ipv4.dhcp", Default: "true", About: "whether instances get IPv4 addresses: by DHCP, and set from outside",
			check: checkBool, set: func(b *network.Bridge, v string) { b.DHCP4 = isTrue(v) },
		},
		NetworkKey{
			Name: "ipv4.dhcp.gateway", Default: "the bridge's address", About: "gateway that instances are told, or none",
			check: func(v string) error { return checkOr(noAddress, v, checkAddr(true)) },
			set: func(b *network.Bridge, v string) {
				b.NoGateway4 = v == noAddress
				b.Gateway4, _ = netip.ParseAddr(v)
			},
		},
		NetworkKey{
			Name: "ipv4.dhcp.routes", About: "routes that instances are told by DHCP: subnets and their gateways in turn, separated by commas",
			check: func(v string) error { _, err := network.ParseStaticRoutes(v); return err },
			set:   func(b *network.Bridge, v string) { b.StaticRoutes4, _ = network.ParseStaticRoutes(v) },
		})
}

// ipv6Keys are those of IPv6.
func ipv6Keys() []NetworkKey {
	return append(familyKeys("ipv6", false),
		NetworkKey{
			Name: "ipv6.dhcp", Default: "true", About: "whether instances are told the resolver and the domain by DHCPv6",
			check: checkBool, set: func(b *network.Bridge, v string) { b.DHCP6 = isTrue(v) },
		},
		NetworkKey{
			Name: "ipv6.dhcp.stateful", Default: "false", About: "whether DHCPv6 gives addresses too, in place of SLAAC",
			check: checkBool, set: func(b *network.Bridge, v string) { b.Stateful6 = isTrue(v) },
		})
}

// familyKeys are the keys that both families have.
func familyKeys(family string, ipv4 bool) []NetworkKey {
	// of is the field of the family.
	return []NetworkKey{
		{
			Name: family + ".address", Default: "auto when the network is made", About: "address of the bridge with the length of its subnet; auto for a free one, none for no " + familyName(ipv4),
			check: checkNetworkAddress(ipv4),
			set: func(b *network.Bridge, v string) {
				p, _ := netip.ParsePrefix(v)
				*of(ipv4, &b.IPv4, &b.IPv6) = p
			},
		},
		{
			Name: family + ".nat", Default: "false; true when the network is made with " + family + ".address=auto", About: "whether what leaves the network gets the host's address",
			check: checkBool, set: func(b *network.Bridge, v string) { *of(ipv4, &b.NAT4, &b.NAT6) = isTrue(v) },
		},
		{
			Name: family + ".nat.address", Default: "that of the link it leaves by", About: "address that what leaves the network gets",
			check: checkAddr(ipv4),
			set:   func(b *network.Bridge, v string) { *of(ipv4, &b.NATAddress4, &b.NATAddress6), _ = netip.ParseAddr(v) },
		},
		{
			Name: family + ".nat.order", Default: "before", About: "before or after: where xtables has the rules; as with Incus, nothing with nftables, which poolctl uses",
			check: checkOneOf("before", "after"),
		},
		{
			Name: family + ".firewall", Default: "true", About: "whether rules are made that forbid: security.isolation, and " + family + ".routing=false",
			check: checkBool, set: func(b *network.Bridge, v string) { *of(ipv4, &b.Firewall4, &b.Firewall6) = isTrue(v) },
		},
		{
			Name: family + ".routing", Default: "true", About: "whether packets go in and out of the network",
			check: checkBool, set: func(b *network.Bridge, v string) { *of(ipv4, &b.Routing4, &b.Routing6) = isTrue(v) },
		},
		{
			Name: family + ".routes", About: "further subnets that are on the network, separated by commas",
			check: func(v string) error { _, err := parseSubnets(v, ipv4); return err },
			set:   func(b *network.Bridge, v string) { *of(ipv4, &b.Routes4, &b.Routes6), _ = parseSubnets(v, ipv4) },
		},
		{
			Name: family + ".dhcp.ranges", Default: "the whole subnet", About: "where addresses are taken from, FIRST-LAST separated by commas",
			check: func(v string) error { _, err := network.ParseRanges(v, ipv4); return err },
			set: func(b *network.Bridge, v string) {
				*of(ipv4, &b.Ranges4, &b.Ranges6), _ = network.ParseRanges(v, ipv4)
			},
		},
		{
			Name: family + ".dhcp.expiry", Default: "1h", About: "how long a lease lasts, such as 30m, 12h or infinite",
			check: network.ValidateExpiry, set: func(b *network.Bridge, v string) { *of(ipv4, &b.Expiry4, &b.Expiry6) = v },
		},
	}
}

// of is one of two fields by the family.
func of[T any](ipv4 bool, four, six *T) *T {
	if ipv4 {
		return four
	}
	return six
}

func familyName(ipv4 bool) string { return *of(ipv4, new("IPv4"), new("IPv6")) }

// checkNetworkAddress takes a bridge's own address. Whether it can be that of this
// bridge network.Bridge says.
func checkNetworkAddress(ipv4 bool) func(string) error {
	return func(v string) error {
		if v == autoAddress || v == noAddress {
			return nil
		}
		p, err := netip.ParsePrefix(v)
		if err != nil || p.Addr().Is4() != ipv4 || p.Addr().Is4In6() || p.Masked().Addr() == p.Addr() {
			return withHint(errors.New("it is no address of a host in a subnet"), "for example ipv4.address=10.1.2.1/24 ipv6.address=fd42:1:2:3::1/64, auto or none")
		}
		return nil
	}
}

func checkAddr(ipv4 bool) func(string) error {
	return func(v string) error { _, err := network.ParseAddr(v, ipv4); return err }
}

// checkOr takes one word, or what check takes.
func checkOr(word, v string, check func(string) error) error {
	if v == word {
		return nil
	}
	return check(v)
}

// checkOneOf takes some words.
func checkOneOf(words ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(words, v) {
			return nil
		}
		return fmt.Errorf("it is not one of %s", strings.Join(words, ", "))
	}
}

// parseSubnets reads subnets of a family that are separated by commas.
func parseSubnets(v string, ipv4 bool) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for word := range strings.SplitSeq(v, ",") {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if err != nil || p.Addr().Is4() != ipv4 || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is no %s subnet", word, familyName(ipv4))
		}
		switch {
		case p.Masked() != p:
			return nil, fmt.Errorf("%q is no subnet: want %s", word, p.Masked())
		case p.Bits() == 0:
			return nil, fmt.Errorf("%q is no subnet but everything", word)
		}
		list = append(list, p)
	}
	return list, nil
}
