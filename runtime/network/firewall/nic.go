package firewall

import (
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// NIC is an instance's interface on a bridge and what it must not pretend to be.
// The rules see every frame that it sends, whoever it is for.
type NIC struct {
	// Link is the host end.
	Link string
	// HWAddr is the interface's own hardware address.
	HWAddr net.HardwareAddr
	// MAC drops frames from another hardware address, and ARP and neighbour
	// discovery that tell one.
	MAC bool
	// IPv4 and IPv6 let only the addresses of Allowed pass as sources (for IPv6 the
	// link-local one of HWAddr too), and as what ARP and neighbour discovery tell
	// of; nothing but IPv4, IPv6 and ARP passes; the instance is no DHCP server and
	// no router for its neighbours. Without any address nothing of the family
	// passes. They imply MAC.
	IPv4, IPv6 bool
	Allowed    []netip.Prefix
	// Rate is the most bits in a second that it may send; what is more is dropped. 0
	// for no limit.
	Rate uint64
	// Priority is what the kernel's queues are told of what it sends; 0 says nothing.
	Priority uint32
}

// Filters says whether there is something to filter.
func (n NIC) Filters() bool { return n.MAC || n.IPv4 || n.IPv6 }

// Apply makes the kernel's rules what n says, in one transaction; without
// anything to filter or to limit there are none.
func (n NIC) Apply() error { return n.table().apply() }

func (n NIC) table() table {
	t := table{family: nftables.TableFamilyNetdev, name: tableName(n.Link)}
	if n.Filters() {
		t.chains = append(t.chains, n.chain())
	}
	if n.Rate > 0 || n.Priority > 0 {
		t.chains = append(t.chains, n.limits())
	}
	return t
}

// Bytes of frames: Ethernet, ARP (RFC 826), IPv6 neighbour discovery (RFC 4861).
const (
	etherSource = 6
	etherType   = 12

	arpSenderHW = 8
	arpSenderIP = 14

	ndType        = 0
	ndTarget      = 8  // of solicitations and advertisements
	ndOptions     = 24 // of the same
	routerOptions = 8  // of router solicitations

	typeRouterSolicit   = 133
	typeRouterAdvert    = 134
	typeNeighborSolicit = 135
	typeNeighborAdvert  = 136
	typeRedirect        = 137
	typeListenerReport  = 143 // MLDv2, RFC 3810

	optionSourceLink = 1
	optionTargetLink = 2
	optionNonce      = 14 // RFC 3971, used by RFC 7527
)

func ether(op expr.CmpOp, offset uint32, data []byte) []expr.Any {
	return payload(expr.PayloadBaseLLHeader, offset, op, data)
}

func etherIs(proto uint16) []expr.Any { return ether(expr.CmpOpEq, etherType, be16(proto)) }

func (n NIC) chain() *chain {
	c := &chain{
		name: "ingress", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookIngress,
		priority: *nftables.ChainPriorityFilter, device: n.Link,
	}
	n.filterMAC(c)
	if n.IPv4 {
		n.filterIPv4(c)
	}
	if n.IPv6 {
		n.filterIPv6(c)
	}
	if n.IPv4 || n.IPv6 {
		// A frame with a VLAN's tag is none of these either.
		c.add("unknown protocols", ether(expr.CmpOpNeq, etherType, be16(unix.ETH_P_IP)),
			ether(expr.CmpOpNeq, etherType, be16(unix.ETH_P_IPV6)), ether(expr.CmpOpNeq, etherType, be16(unix.ETH_P_ARP)), drop())
	}
	return c
}

func (n NIC) filterMAC(c *chain) {
	const comment = "hardware address"
	c.add(comment, ether(expr.CmpOpNeq, etherSource, n.HWAddr), drop())
	c.add(comment, etherIs(unix.ETH_P_ARP), netHeader(arpSenderHW, expr.CmpOpNeq, n.HWAddr...), drop())
	n.filterOptions(c, typeRouterSolicit, routerOptions, optionSourceLink)
	n.filterOptions(c, typeNeighborSolicit, ndOptions, optionSourceLink)
	n.filterOptions(c, typeNeighborAdvert, ndOptions, optionTargetLink)
}

// filterOptions lets a message of neighbour discovery have at most one option,
// with the own hardware address; a solicitation may have a nonce instead, as
// duplicate address detection sends it.
func (n NIC) filterOptions(c *chain, message byte, offset uint32, option byte) {
	const comment = "hardware address"
	is := func(parts ...[]expr.Any) [][]expr.Any { return append([][]expr.Any{icmpv6(message)}, parts...) }
	first := [][]expr.Any{transport(offset, expr.CmpOpNeq, option)}
	if message == typeNeighborSolicit {
		first = append(first, transport(offset, expr.CmpOpNeq, optionNonce))
	}
	c.add(comment, is(append(first, drop())...)...)
	c.add(comment, is(transport(offset, expr.CmpOpEq, option), transport(offset+2, expr.CmpOpNeq, n.HWAddr...), drop())...)
	// Any byte of a second option is at least 0.
	c.add(comment, is(transport(offset+8, expr.CmpOpGte, 0), drop())...)
}

func icmpv6(message byte) []expr.Any {
	m := append(etherIs(unix.ETH_P_IPV6), l4proto(unix.IPPROTO_ICMPV6)...)
	return append(m, transport(ndType, expr.CmpOpEq, message)...)
}

func udp(proto uint16) []expr.Any { return append(etherIs(proto), l4proto(unix.IPPROTO_UDP)...) }

func (n NIC) filterIPv4(c *chain) {
	const comment = "IPv4 address"
	c.add("no DHCP server", udp(unix.ETH_P_IP), transport(0, expr.CmpOpEq, be16(67)...), drop())
	unspecified, everyone := single(netip.IPv4Unspecified()), single(netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	var arp, ip [][]expr.Any
	for _, p := range n.Allowed {
		if p.Addr().Is4() {
			arp = append(arp, prefix(expr.PayloadBaseNetworkHeader, arpSenderIP, expr.CmpOpNeq, p))
			ip = append(ip, saddr(expr.CmpOpNeq, p))
		}
	}
	if len(ip) > 0 {
		c.add("DHCP client", udp(unix.ETH_P_IP), saddr(expr.CmpOpEq, unspecified), daddr(expr.CmpOpEq, everyone),
			transport(2, expr.CmpOpEq, be16(67)...), accept())
	}
	c.add(comment, append(append([][]expr.Any{etherIs(unix.ETH_P_ARP)}, arp...), drop())...)
	c.add(comment, append(append([][]expr.Any{etherIs(unix.ETH_P_IP)}, ip...), drop())...)
}

func (n NIC) filterIPv6(c *chain) {
	const comment = "IPv6 address"
	c.add("no router", icmpv6(typeRouterAdvert), drop())
	c.add("no router", icmpv6(typeRedirect), drop())
	c.add("no DHCP server", udp(unix.ETH_P_IPV6), transport(0, expr.CmpOpEq, be16(547)...), drop())
	allowed := []netip.Prefix{single(linkLocal(n.HWAddr))}
	for _, p := range n.Allowed {
		if p.Addr().Is6() {
			allowed = append(allowed, p)
		}
	}
	if len(allowed) == 1 {
		c.add(comment, etherIs(unix.ETH_P_IPV6), drop())
		return
	}
	var told, source [][]expr.Any
	for _, p := range allowed {
		told = append(told, prefix(expr.PayloadBaseTransportHeader, ndTarget, expr.CmpOpNeq, p))
		source = append(source, saddr(expr.CmpOpNeq, p))
	}
	c.add(comment, append(append([][]expr.Any{icmpv6(typeNeighborAdvert)}, told...), drop())...)
	// What a host must be able to send before it has an address: the search for
	// routers and for a DHCP server, reports of groups, the detection of duplicates
	// of its own addresses, the link-local one being whatever it chooses.
	anyLocal := netip.MustParsePrefix("fe80::/10")
	unspecified := single(netip.IPv6Unspecified())
	for _, from := range []netip.Prefix{anyLocal, unspecified} {
		c.add("router discovery", icmpv6(typeRouterSolicit), saddr(expr.CmpOpEq, from), accept())
		c.add("groups", icmpv6(typeListenerReport), saddr(expr.CmpOpEq, from), accept())
	}
	servers := single(netip.MustParseAddr("ff02::1:2"))
	c.add("DHCP client", udp(unix.ETH_P_IPV6), saddr(expr.CmpOpEq, anyLocal), daddr(expr.CmpOpEq, servers),
		transport(2, expr.CmpOpEq, be16(547)...), accept())
	for _, p := range append(allowed[1:], anyLocal) {
		c.add("duplicate address detection", icmpv6(typeNeighborSolicit), saddr(expr.CmpOpEq, unspecified),
			prefix(expr.PayloadBaseTransportHeader, ndTarget, expr.CmpOpEq, p), accept())
	}
	c.add(comment, append(append([][]expr.Any{etherIs(unix.ETH_P_IPV6)}, source...), drop())...)
}

// linkLocal is the address fe80:: with the interface identifier of a hardware
// address (RFC 4291, appendix A).
func linkLocal(hw net.HardwareAddr) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: hw[0] ^ 2, 9: hw[1], 10: hw[2], 11: 0xff, 12: 0xfe, 13: hw[3], 14: hw[4], 15: hw[5]}
	return netip.AddrFrom16(a)
}
