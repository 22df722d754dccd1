package network

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"poolctl/runtime/network/firewall"
)

// Bridge is one network: a bridge of the host with its addresses, its
// reservations and its dnsmasq. The zero IPv4 or IPv6 leaves that family out;
// what is said of a family without an address has no effect.
type Bridge struct {
	// Name is the bridge's on the host, see ValidateName.
	Name string
	// IPv4 and IPv6 are the bridge's own addresses with the length of the
	// network, for instance 10.1.2.1/24 and fd42:1:2:3::1/64.
	IPv4, IPv6 netip.Prefix
	// Dir holds the reservations (desired state; made when missing). Two bridges
	// never share one: it is also what makes a bridge this network's.
	Dir string
	// RunDir holds dnsmasq's pid file and leases (live state, may vanish at
	// reboot; made when missing).
	RunDir string

	// MTU is the bridge's in bytes; 0 means DefaultMTU.
	MTU int
	// HWAddr is the bridge's hardware address; empty means one that is derived
	// from Name and Dir.
	HWAddr string
	// External are interfaces of the host's that are ports of the bridge.
	External []string

	// Routing4 and Routing6 let packets of the family through to other links and
	// back. Firewall4 and Firewall6 have the rules made that forbid something:
	// isolation, and that nothing is routed without Routing. NAT4 and NAT6 have what
	// leaves the network get the host's address or, when that is valid, NATAddress4
	// or NATAddress6.
	Routing4, Routing6       bool
	Firewall4, Firewall6     bool
	NAT4, NAT6               bool
	NATAddress4, NATAddress6 netip.Addr
	// Isolated keeps the network and the host's other ones apart, those of other
	// state directories too.
	Isolated bool
	// Forwards are the ports and addresses of the host that are published for
	// instances.
	Forwards []firewall.Forward
	// Routes4 and Routes6 are further subnets that are to be found on the network.
	Routes4, Routes6 []netip.Prefix

	// DHCP4 has IPv4 addresses given to instances, DHCP6 has the resolver and the
	// domain told by DHCPv6 besides the router advertisements. Stateful6 has
	// addresses given by DHCPv6 in place of SLAAC.
	DHCP4, DHCP6, Stateful6 bool
	// Ranges4 and Ranges6 are where addresses are taken from, those that an
	// instance asks for aside; none means the whole subnet. Ranges6 are for
	// Stateful6.
	Ranges4, Ranges6 []Range
	// Expiry4 and Expiry6 are how long a lease lasts, as dnsmasq takes it ("30m",
	// "infinite"; ValidateExpiry); empty means an hour.
	Expiry4, Expiry6 string
	// Gateway4 is the gateway that instances are told; the zero Addr means the
	// bridge, unless NoGateway4 is set.
	Gateway4   netip.Addr
	NoGateway4 bool
	// StaticRoutes4 are routes that instances are told by DHCP (RFC 3442).
	StaticRoutes4 []StaticRoute

	// DNSMode says which names there are.
	DNSMode DNSMode
	// Domain is that of the names, without dots at its ends; empty means
	// DefaultDomain.
	Domain string
	// Search are the domains that instances search; none means Domain.
	Search []string
	// Nameservers are the resolvers that instances are told; none means the bridge.
	Nameservers []netip.Addr
	// EtcHosts has the names of DNSManaged in the host's /etc/hosts, too.
	EtcHosts bool
	// RawDnsmasq is appended to dnsmasq's configuration.
	RawDnsmasq string
}

// DNSMode says which names a network's resolver knows (incus dns.mode).
type DNSMode string

// The modes.
const (
	DNSManaged DNSMode = ""        // of all instances, made from the reservations
	DNSDynamic DNSMode = "dynamic" // those that the instances tell the DHCP server
	DNSNone    DNSMode = "none"
)

const (
	// DefaultMTU is a bridge's MTU when none is set.
	DefaultMTU = 1500
	// DefaultDomain is LXD's (Incus has "incus").
	DefaultDomain = "lxd"
	// MinMTU4 is the least a link must carry for IPv4 (RFC 791).
	MinMTU4 = 68
	// MinMTU6 is the same for IPv6 (RFC 8200).
	MinMTU6 = 1280
	// MaxMTU is the kernel's for a bridge (ETH_MAX_MTU).
	MaxMTU = 65535
)

// Validate checks the fields: the name, an IPv4 network of 2 to 2^24-2 hosts,
// an IPv6 network of length 64 (SLAAC needs it, RFC 4862), absolute directories,
// and that the rest agrees with these.
func (b Bridge) Validate() error {
	if err := ValidateName(b.Name); err != nil {
		return err
	}
	if p := b.IPv4; p.IsValid() {
		if !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 30 {
			return fmt.Errorf("invalid IPv4 network %s: want an address with a length of 8 to 30", p)
		}
		if p.Addr() == p.Masked().Addr() || p.Addr() == broadcast(p) {
			return fmt.Errorf("invalid IPv4 network %s: %s is no host's address in it", p, p.Addr())
		}
		if p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().As4()[0] == 0 {
			return fmt.Errorf("invalid IPv4 network %s: no host can have its addresses", p)
		}
	}
	if p := b.IPv6; p.IsValid() {
		if !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != 64 {
			return fmt.Errorf("invalid IPv6 network %s: want an address with length 64", p)
		}
		if p.Addr() == p.Masked().Addr() {
			return fmt.Errorf("invalid IPv6 network %s: want a host's address in it", p)
		}
		if p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() {
			return fmt.Errorf("invalid IPv6 network %s: no host can have its addresses", p)
		}
	}
	if !filepath.IsAbs(b.Dir) || !filepath.IsAbs(b.RunDir) {
		return errors.New("the network's directories must be absolute paths")
	}
	return errors.Join(b.validateLink(), b.validateDHCP(), b.validateNames())
}

// validateLink checks the MTU, the hardware address and the routes.
func (b Bridge) validateLink() error {
	least := 0
	switch {
	case b.IPv6.IsValid():
		least = MinMTU6
	case b.IPv4.IsValid():
		least = MinMTU4
	}
	if b.MTU != 0 && (b.MTU < least || b.MTU > MaxMTU) {
		return fmt.Errorf("invalid MTU %d: want %d to %d", b.MTU, max(least, MinMTU4), MaxMTU)
	}
	if b.HWAddr != "" {
		if _, err := parseHWAddr(b.HWAddr); err != nil {
			return err
		}
	}
	for i, name := range b.External {
		if err := ValidateName(name); err != nil {
			return err
		}
		if name == b.Name || slices.Contains(b.External[:i], name) {
			return fmt.Errorf("%s is the bridge, or there twice", name)
		}
	}
	for _, f := range []struct {
		own    netip.Prefix
		routes []netip.Prefix
	}{{b.IPv4, b.Routes4}, {b.IPv6, b.Routes6}} {
		for _, r := range f.routes {
			if f.own.IsValid() && r.Overlaps(f.own.Masked()) {
				return fmt.Errorf("the route to %s overlaps the network's subnet %s", r, f.own.Masked())
			}
		}
	}
	return nil
}

// validateDHCP checks that ranges and gateway are in the subnets.
func (b Bridge) validateDHCP() error {
	for _, f := range []struct {
		subnet netip.Prefix
		ranges []Range
	}{{b.IPv4, b.Ranges4}, {b.IPv6, b.Ranges6}} {
		for i, r := range f.ranges {
			if !f.subnet.IsValid() {
				continue
			}
			for _, a := range []netip.Addr{r.First, r.Last} {
				if !f.subnet.Contains(a) || a == f.subnet.Masked().Addr() || a.Is4() && a == broadcast(f.subnet) {
					return fmt.Errorf("the DHCP range %s is not of hosts in the subnet %s", r, f.subnet.Masked())
				}
			}
			for _, other := range f.ranges[:i] {
				if r.Overlaps(other) {
					return fmt.Errorf("the DHCP ranges %s and %s overlap", other, r)
				}
			}
		}
	}
	if b.Gateway4.IsValid() && b.IPv4.IsValid() && !b.isHost(b.Gateway4) {
		return fmt.Errorf("the gateway %s is no host's address in the subnet %s", b.Gateway4, b.IPv4.Masked())
	}
	for i, r := range b.StaticRoutes4 {
		if b.IPv4.IsValid() && !b.isHost(r.Gateway) && r.Gateway.IsValid() && !r.Gateway.IsUnspecified() {
			return fmt.Errorf("the gateway %s of the route to %s is no host's address in the subnet %s", r.Gateway, r.To, b.IPv4.Masked())
		}
		for _, other := range b.StaticRoutes4[:i] {
			if other.To == r.To {
				return fmt.Errorf("there are two routes to %s", r.To)
			}
		}
	}
	for _, e := range []string{b.Expiry4, b.Expiry6} {
		if e != "" {
			if err := ValidateExpiry(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// validateNames checks what ends up in dnsmasq's configuration.
func (b Bridge) validateNames() error {
	if b.DNSMode != DNSManaged && b.DNSMode != DNSDynamic && b.DNSMode != DNSNone {
		return fmt.Errorf("invalid DNS mode %q", b.DNSMode)
	}
	domains := b.Search
	if b.Domain != "" {
		domains = append([]string{b.Domain}, b.Search...)
	}
	for _, d := range domains {
		if err := ValidateDomain(d); err != nil {
			return err
		}
	}
	return ValidateRaw(b.RawDnsmasq)
}

// mtu is the MTU that the bridge is to have.
func (b Bridge) mtu() int {
	if b.MTU == 0 {
		return DefaultMTU
	}
	return b.MTU
}

// domain is that of the instances' names; "" when there are none.
func (b Bridge) domain() string {
	switch {
	case b.DNSMode == DNSNone:
		return ""
	case b.Domain == "":
		return DefaultDomain
	}
	return b.Domain
}

// Subnets are the networks' subnets and those that are routed to it.
func (b Bridge) Subnets() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range append([]netip.Prefix{b.IPv4, b.IPv6}, append(b.routes4(), b.routes6()...)...) {
		if p.IsValid() {
			list = append(list, p.Masked())
		}
	}
	return list
}

// routes4 and routes6 are the routes of the families that the network has.
func (b Bridge) routes4() []netip.Prefix {
	if !b.IPv4.IsValid() {
		return nil
	}
	return b.Routes4
}

func (b Bridge) routes6() []netip.Prefix {
	if !b.IPv6.IsValid() {
		return nil
	}
	return b.Routes6
}
