package firewall

import (
	"net/netip"

	"github.com/google/nftables"
)

// LinkGroup is the group (ip link, "group") of all bridges of networks: by it
// one network's rules know the others, also those of other state directories.
const LinkGroup = 0x706f6f6c

// Network is a bridge and what its rules are to do.
type Network struct {
	// Bridge is the name of the bridge, whose group is LinkGroup.
	Bridge string
	// IPv4 and IPv6 are the two families; one with a zero Address has no rules.
	IPv4, IPv6 Family
	// Isolated keeps the network and the other ones of LinkGroup apart, in both
	// directions, and their instances from the host's addresses on this bridge. What
	// a Forward publishes can be reached nevertheless.
	Isolated bool
	// Forwards are published ports.
	Forwards []Forward
}

// Family is one address family of a network.
type Family struct {
	// Address is the bridge's, with the length of the network.
	Address netip.Prefix
	// NAT gives what leaves the network the source address NATAddress, or, when
	// that is not valid, that of the interface by which it leaves.
	NAT        bool
	NATAddress netip.Addr
	// Filter wants the rules that forbid something: Isolated, and that nothing is
	// forwarded without Routing.
	Filter bool
	// Routing wants packets forwarded into the network and out of it.
	Routing bool
}

// Apply makes the kernel's rules of the network what n says, in one
// transaction. It is cheap when they are that already.
func (n Network) Apply() error { return n.table().apply() }

// Applied says whether the kernel's rules are what n says.
func (n Network) Applied() (bool, error) { return n.table().applied() }

func (n Network) table() table {
	t := table{family: nftables.TableFamilyINet, name: tableName(n.Bridge)}
	var (
		input    = &chain{name: "input", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter}
		forward  = &chain{name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter}
		outgoing = postrouting()
	)
	var subnets []netip.Prefix
	for _, f := range []Family{n.IPv4, n.IPv6} {
		if !f.Address.IsValid() {
			continue
		}
		subnets = append(subnets, f.Address.Masked())
		if f.Filter {
			n.filter(f, input, forward)
		}
	}
	published := forwardChains(n.Forwards, subnets, outgoing)
	for _, f := range []Family{n.IPv4, n.IPv6} {
		if f.Address.IsValid() && f.NAT {
			p := f.Address.Masked()
			// Not by the own bridge: what the host itself sends there, for instance to a
			// group or to everyone, keeps its address.
			outgoing.add("NAT", saddrOf(p), daddrNotIn(p), oifNot(n.Bridge), snat(f.NATAddress))
		}
	}
	for _, c := range append([]*chain{input, forward}, append(published, outgoing)...) {
		if len(c.rules) > 0 {
			t.chains = append(t.chains, c)
		}
	}
	return t
}

// filter adds one family's rules that forbid. A packet from the bridge to the
// bridge is not touched: it is one that goes between two ports, and comes here
// only where bridges hand packets to iptables (net.bridge.bridge-nf-call-iptables).
func (n Network) filter(f Family, input, forward *chain) {
	this := family(f.Address.Addr().Is4())
	if !f.Routing {
		forward.add("no routing", this, iif(n.Bridge), oifNot(n.Bridge), reject())
		forward.add("no routing", this, oif(n.Bridge), iifNot(n.Bridge), reject())
	}
	if !n.Isolated {
		return
	}
	forward.add("isolation", this, iif(n.Bridge), oifGroup(LinkGroup), oifNot(n.Bridge), translated(false), reject())
	forward.add("isolation", this, oif(n.Bridge), iifGroup(LinkGroup), iifNot(n.Bridge), translated(false), reject())
	input.add("isolation", iifGroup(LinkGroup), iifNot(n.Bridge), daddrOf(single(f.Address.Addr())), reject())
}

func postrouting() *chain {
	return &chain{name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource}
}
