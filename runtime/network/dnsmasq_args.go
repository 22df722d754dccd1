package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// defaultExpiry is short, as LXD's: an instance that takes another's hardware
// address over waits no longer than this.
const defaultExpiry = "1h"

// dnsmasqArgs are the arguments of the network's dnsmasq (man dnsmasq), without its
// own path. All but what the user appends is here and not in a file, so that the
// process itself tells what it serves, and no value can become another option. It
// answers DHCP with the reserved addresses and nothing else ("static").
func (b Bridge) dnsmasqArgs(user string) []string {
	args := []string{
		"--conf-file=" + b.rawFile(), "--pid-file=" + b.pidFile(), "--user=" + user,
		"--interface=" + b.Name, "--except-interface=lo", "--bind-interfaces", "--no-hosts",
		"--dhcp-authoritative", "--dhcp-rapid-commit", "--dhcp-no-override", "--no-ping",
		"--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra",
		"--dhcp-hostsdir=" + b.hostsDir(), "--dhcp-leasefile=" + b.leaseFile(),
	}
	return append(append(append(args, b.nameArgs()...), b.dhcp4Args()...), b.dhcp6Args()...)
}

// nameArgs say which names there are. Others are asked of the host's resolvers
// (/etc/resolv.conf), names in the network's domain never.
func (b Bridge) nameArgs() []string {
	var args []string
	if b.DNSMode != DNSDynamic {
		args = append(args, "--dhcp-ignore-names") // no instance takes another's name
	}
	if b.DNSMode == DNSManaged {
		args = append(args, "--hostsdir="+b.namesDir())
	}
	if d := b.domain(); d != "" {
		args = append(args, "--domain="+d, "--local=/"+d+"/", "--interface-name=_gateway."+d+","+b.Name)
	}
	return args
}

// dhcp4Args are for DHCPv4.
func (b Bridge) dhcp4Args() []string {
	if !b.IPv4.IsValid() || !b.DHCP4 {
		return nil
	}
	mask := ipNet(b.IPv4).Mask
	args := []string{fmt.Sprintf("--dhcp-range=%s,static,%d.%d.%d.%d,%s",
		b.IPv4.Masked().Addr(), mask[0], mask[1], mask[2], mask[3], expiry(b.Expiry4))}
	switch {
	case b.NoGateway4:
		args = append(args, "--dhcp-option=option:router")
	case b.Gateway4.IsValid():
		args = append(args, "--dhcp-option=option:router,"+b.Gateway4.String())
	}
	if routes := b.staticRoutes(); len(routes) > 0 {
		args = append(args, "--dhcp-option-force=option:classless-static-route,"+strings.Join(routes, ","))
	}
	if b.Nameservers != nil {
		args = append(args, strings.Join(append([]string{"--dhcp-option=option:dns-server"}, b.nameservers(true)...), ","))
	}
	if b.mtu() != DefaultMTU {
		args = append(args, "--dhcp-option-force=option:mtu,"+strconv.Itoa(b.mtu()))
	}
	if b.Search != nil {
		// Forced: not every client asks for it.
		args = append(args, "--dhcp-option-force=option:domain-search,"+strings.Join(b.Search, ","))
	}
	return args
}

// staticRoutes are the routes that instances are told, as dnsmasq takes them. A client
// that heeds them does not heed the gateway (RFC 3442), which is among them therefore.
func (b Bridge) staticRoutes() []string {
	if len(b.StaticRoutes4) == 0 {
		return nil
	}
	var out []string
	gateway := b.IPv4.Addr()
	if b.Gateway4.IsValid() {
		gateway = b.Gateway4
	}
	for _, r := range b.StaticRoutes4 {
		out = append(out, r.To.String(), r.Gateway.String())
		if r.To.Bits() == 0 {
			gateway = netip.Addr{}
		}
	}
	if gateway.IsValid() && !b.NoGateway4 {
		out = append(out, "0.0.0.0/0", gateway.String())
	}
	return out
}

// dhcp6Args are for router advertisements and DHCPv6. SLAAC's prefix is advertised
// without an end: the address that Attach sets must not end with an advertisement's.
func (b Bridge) dhcp6Args() []string {
	if !b.IPv6.IsValid() {
		return nil
	}
	args := []string{"--enable-ra"}
	slaac := "--dhcp-range=::,constructor:" + b.Name + ","
	switch {
	case b.givesIPv6():
		args = append(args, fmt.Sprintf("--dhcp-range=%s,static,64,%s", b.IPv6.Masked().Addr(), expiry(b.Expiry6)))
	case b.DHCP6 && b.DNSMode == DNSDynamic:
		args = append(args, slaac+"ra-stateless,ra-names,64,infinite")
	case b.DHCP6:
		args = append(args, slaac+"ra-stateless,64,infinite")
	default:
		args = append(args, slaac+"ra-only,64,infinite")
	}
	servers := []string{"[" + b.IPv6.Addr().String() + "]"}
	if b.Nameservers != nil {
		servers = b.nameservers(false)
	}
	args = append(args, strings.Join(append([]string{"--dhcp-option=option6:dns-server"}, servers...), ","))
	if b.Search != nil {
		args = append(args, "--dhcp-option=option6:domain-search,"+strings.Join(b.Search, ","))
	}
	return args
}

// nameservers are those of one family that instances are told, as dnsmasq takes them.
func (b Bridge) nameservers(ipv4 bool) []string {
	var list []string
	for _, a := range b.Nameservers {
		switch {
		case a.Is4() && ipv4:
			list = append(list, a.String())
		case a.Is6() && !ipv4:
			list = append(list, "["+a.String()+"]")
		}
	}
	return list
}

func expiry(v string) string {
	if v == "" {
		return defaultExpiry
	}
	return v
}
