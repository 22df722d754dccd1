package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// PortRange is the ports First to Last, both included.
type PortRange struct{ First, Last uint16 }

func (p PortRange) len() int { return int(p.Last) - int(p.First) + 1 }

func (p PortRange) String() string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Overlaps says whether a port is in both.
func (p PortRange) Overlaps(o PortRange) bool { return p.First <= o.Last && o.First <= p.Last }

// Forward sends what comes for an address of the host to another one: what comes
// from outside, from the network that the target is in, and from the host itself.
type Forward struct {
	// Listen is the address that is published; an unspecified one (0.0.0.0, ::)
	// means every address of the host but the loopback's. Loopback addresses cannot
	// be published: packets from one never leave the host.
	Listen netip.Addr
	// Protocol is "tcp" or "udp"; empty means everything that comes for Listen,
	// then there are no ports.
	Protocol string
	// Ports are the published ones.
	Ports PortRange
	// Target is the address that has the service.
	Target netip.Addr
	// TargetPorts are as many as Ports, or one for all of them.
	TargetPorts PortRange
}

// Validate checks the fields.
func (f Forward) Validate() error {
	switch {
	case !f.Listen.IsValid() || !f.Target.IsValid() || f.Listen.Is4() != f.Target.Is4() || f.Listen.Is4In6() || f.Listen.Zone() != "":
		return fmt.Errorf("cannot forward %s to %s: both must be IPv4 addresses, or both IPv6 ones", f.Listen, f.Target)
	case f.Listen.IsLoopback() || f.Listen.IsMulticast() || f.Listen.IsLinkLocalUnicast():
		return fmt.Errorf("cannot forward %s: it is not an address that others can reach", f.Listen)
	case f.Target.IsUnspecified() || f.Target.IsLoopback() || f.Target.IsMulticast():
		return fmt.Errorf("cannot forward to %s: it is no host's address", f.Target)
	case f.Protocol == "":
		if f.Listen.IsUnspecified() || f.Ports != (PortRange{}) || f.TargetPorts != (PortRange{}) {
			return errors.New("a forward of every protocol takes an address of its own and no ports")
		}
		return nil
	case f.Protocol != "tcp" && f.Protocol != "udp":
		return fmt.Errorf("protocol %q is unknown: tcp or udp", f.Protocol)
	}
	for _, p := range []PortRange{f.Ports, f.TargetPorts} {
		if p.First == 0 || p.Last < p.First {
			return fmt.Errorf("invalid ports %s", p)
		}
	}
	if n := f.TargetPorts.len(); n != 1 && n != f.Ports.len() {
		return fmt.Errorf("ports %s and target ports %s: there must be as many target ports, or one", f.Ports, f.TargetPorts)
	}
	return nil
}

// Published are the forwards that belong to an instance's interface: those of its
// proxy devices with nat=true. Remove(Link) takes their rules away too.
type Published struct {
	// Link is the host end of the interface.
	Link string
	// Subnets are the networks that the targets are in.
	Subnets  []netip.Prefix
	Forwards []Forward
}

// Apply makes the kernel's rules what p says, in one transaction; without any forward
// there are none.
func (p Published) Apply() error {
	for _, f := range p.Forwards {
		if err := f.Validate(); err != nil {
			return err
		}
	}
	if len(p.Forwards) > 0 {
		if err := Hairpin(p.Link); err != nil {
			return err
		}
	}
	return p.table().apply()
}

func (p Published) table() table {
	t := table{family: nftables.TableFamilyINet, name: tableName(p.Link)}
	back := postrouting()
	t.chains = forwardChains(p.Forwards, p.Subnets, back)
	if len(back.rules) > 0 {
		t.chains = append(t.chains, back)
	}
	return t
}

// forwardChains are the chains that translate destinations, before routing and
// for the host's own packets; back gets what brings answers back: when client
// and target are in one network, the target would answer the client directly,
// with an address that the client does not know. It sees the bridge's address as
// its client's instead.
func forwardChains(forwards []Forward, subnets []netip.Prefix, back *chain) []*chain {
	if len(forwards) == 0 {
		return nil
	}
	incoming := &chain{name: "prerouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest}
	local := &chain{name: "output", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput, priority: *nftables.ChainPriorityNATDest}
	for _, whole := range forwards {
		for _, f := range whole.split() {
			comment := "forward to " + f.Target.String()
			match := f.match()
			to, pairs := f.dnat()
			for _, c := range []*chain{incoming, local} {
				c.add(comment, match, to)
				c.rules[len(c.rules)-1].ports = pairs
			}
		}
	}
	for _, s := range subnets {
		back.add("answers of forwards", saddrOf(s), daddr(expr.CmpOpEq, s), translated(true), snat(netip.Addr{}))
	}
	return []*chain{incoming, local}
}

// match are the packets that a forward takes.
func (f Forward) match() []expr.Any {
	var m []expr.Any
	if f.Listen.IsUnspecified() {
		loopback := netip.MustParsePrefix("::1/128")
		if f.Listen.Is4() {
			loopback = netip.MustParsePrefix("127.0.0.0/8")
		}
		m = append(family(f.Listen.Is4()), daddrNotIn(loopback)...)
		m = append(m, localDestination()...)
	} else {
		m = daddrOf(single(f.Listen))
	}
	switch f.Protocol {
	case "tcp":
		m = append(m, l4proto(unix.IPPROTO_TCP)...)
	case "udp":
		m = append(m, l4proto(unix.IPPROTO_UDP)...)
	default:
		return m
	}
	return append(m, dport(f.Ports)...)
}

// split makes several of a forward that needs a map of more ports than a message
// to the kernel holds (an attribute has at most 64 KiB).
func (f Forward) split() []Forward {
	const most = 1000
	if !f.mapped() || f.Ports.len() <= most {
		return []Forward{f}
	}
	head, tail := f, f
	head.Ports.Last, head.TargetPorts.Last = f.Ports.First+most-1, f.TargetPorts.First+most-1
	tail.Ports.First, tail.TargetPorts.First = f.Ports.First+most, f.TargetPorts.First+most
	return append([]Forward{head}, tail.split()...)
}

// mapped says whether each port has another one as its target.
func (f Forward) mapped() bool {
	return f.Protocol != "" && f.Ports != f.TargetPorts && f.TargetPorts.len() > 1
}

// dnat is the translation. Where each port has another one, these are looked up
// in a map, which pairs fills.
func (f Forward) dnat() (to []expr.Any, pairs []portPair) {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: nfproto(f.Target), RegAddrMin: 1, RegAddrMax: 1}
	address := &expr.Immediate{Register: 1, Data: f.Target.AsSlice()}
	if f.Protocol == "" || f.Ports == f.TargetPorts {
		return []expr.Any{address, nat}, nil
	}
	// Register 2 is the one after the 16 bytes of register 1, which an IPv6 address
	// fills (linux/netfilter/nf_tables.h, enum nft_registers).
	nat.RegProtoMin, nat.RegProtoMax = 2, 2
	if f.TargetPorts.len() == 1 {
		return []expr.Any{address, &expr.Immediate{Register: 2, Data: be16(f.TargetPorts.First)}, nat}, nil
	}
	for i := range f.Ports.len() {
		pairs = append(pairs, portPair{f.Ports.First + uint16(i), f.TargetPorts.First + uint16(i)})
	}
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, 2, 2),
		&expr.Lookup{SourceRegister: 1, DestRegister: 2, IsDestRegSet: true},
		address, nat,
	}, pairs
}
