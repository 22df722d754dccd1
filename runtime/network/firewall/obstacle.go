package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Obstacle is a chain of another program that drops packets of a network.
// Nothing in a table of one's own can let them pass.
type Obstacle struct {
	// Chain is as nft lists it: "ip filter FORWARD".
	Chain string
	// Packets says which it drops: "from the network to the outside".
	Packets []string
	// Program is what made the chain: docker, ufw, firewalld, or "" when that is not
	// known.
	Program string
	// Commands open it for the network.
	Commands []string
}

func (o Obstacle) String() string {
	by := ""
	if o.Program != "" {
		by = " (" + o.Program + ")"
	}
	return fmt.Sprintf("the chain %s%s drops packets %s", o.Chain, by, strings.Join(o.Packets, ", "))
}

// Obstacles finds the chains of other programs that drop what the network needs:
// it walks through all that are at the hooks where packets are forwarded and
// received, with packets that are only thought of. iptables-legacy's tables are
// not seen. A kernel without nftables has none.
func (n Network) Obstacles() (_ []Obstacle, err error) {
	c, err := connect()
	if IsUnsupported(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	chains, err := c.ListChains()
	if err != nil {
		if IsUnsupported(unsupported(err)) {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot list nftables chains: %w", err)
	}
	packets := n.packets()
	var out []Obstacle
	for _, ch := range chains {
		if ch.Hooknum == nil || strings.HasPrefix(ch.Table.Name, tablePrefix) || ch.Type != nftables.ChainTypeFilter {
			continue
		}
		e := &evaluator{
			conn: c, table: ch.Table, bridge: n.Bridge,
			rules: map[string][]*nftables.Rule{}, sets: map[string][]nftables.SetElement{},
		}
		o := obstacleOf(ch, chains, n.Bridge, len(n.Forwards) > 0)
		for _, p := range packets {
			if !at(ch, p) {
				continue
			}
			v, err := e.chain(ch.Name, p, 0)
			if err != nil {
				return nil, err
			}
			policy := ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
			if v == dropped || v == returned && policy {
				o.Packets = append(o.Packets, p.what)
			}
		}
		if o.Packets = slices.Compact(o.Packets); len(o.Packets) > 0 {
			out = append(out, o)
		}
	}
	return out, nil
}

// at says whether a packet comes by a chain.
func at(ch *nftables.Chain, p packet) bool {
	hook := *nftables.ChainHookForward
	if p.oif == "" {
		hook = *nftables.ChainHookInput
	}
	if *ch.Hooknum != hook {
		return false
	}
	switch ch.Table.Family {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv4:
		return p.is4()
	case nftables.TableFamilyIPv6:
		return !p.is4()
	}
	return false
}

// packets are those that a network cannot do without.
func (n Network) packets() []packet {
	up := uplink()
	var list []packet
	for _, f := range []Family{n.IPv4, n.IPv6} {
		if !f.Address.IsValid() {
			continue
		}
		name, far, unspecified := "IPv4", netip.MustParseAddr("192.0.2.1"), netip.IPv4Unspecified()
		everyone, client, server := netip.AddrFrom4([4]byte{255, 255, 255, 255}), uint16(68), uint16(67)
		if f.Address.Addr().Is6() {
			name, far, unspecified = "IPv6", netip.MustParseAddr("2001:db8::1"), linkLocal([]byte{0, 0x16, 0x3e, 0, 0, 1})
			everyone, client, server = netip.MustParseAddr("ff02::1:2"), 546, 547
		}
		inside := f.Address.Addr().Next()
		if f.Routing {
			list = append(list,
				packet{what: "from the network to the outside (" + name + ")", iif: n.Bridge, oif: up, src: inside, dst: far, proto: unix.IPPROTO_TCP, from: 40000, to: 443},
				packet{what: "from the outside in answer to the network (" + name + ")", iif: up, oif: n.Bridge, src: far, dst: inside, proto: unix.IPPROTO_TCP, from: 443, to: 40000, reply: true})
		}
		for _, w := range n.Forwards {
			if w.Target.Is4() == inside.Is4() {
				list = append(list, packet{what: "from the outside to published ports (" + name + ")", iif: up, oif: n.Bridge, src: far, dst: w.Target, proto: unix.IPPROTO_TCP, from: 40000, to: w.TargetPorts.First, translated: true})
				break
			}
		}
		if bridgeNetfilter() {
			list = append(list, packet{what: "between instances (" + name + ")", iif: n.Bridge, oif: n.Bridge, src: inside, dst: inside.Next(), proto: unix.IPPROTO_TCP, from: 40000, to: 80})
		}
		list = append(list,
			packet{what: "from instances to the DHCP server (" + name + ")", iif: n.Bridge, src: unspecified, dst: everyone, proto: unix.IPPROTO_UDP, from: client, to: server},
			packet{what: "from instances to the name server (" + name + ")", iif: n.Bridge, src: inside, dst: f.Address.Addr(), proto: unix.IPPROTO_UDP, from: 40000, to: 53, local: true})
	}
	return list
}

// uplink is the interface of a default route; when there is none, a name that no
// interface has.
func uplink() string {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err == nil {
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				return l.Attrs().Name
			}
		}
	}
	return "(outside)"
}

func linkIndex(name string) uint32 {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0
	}
	return uint32(l.Attrs().Index)
}

// obstacleOf says whose a chain is and what opens it; published wants the network
// to be reached from outside as well.
func obstacleOf(ch *nftables.Chain, all []*nftables.Chain, bridge string, published bool) Obstacle {
	familyName := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}[ch.Table.Family]
	o := Obstacle{Chain: strings.Join([]string{familyName, ch.Table.Name, ch.Name}, " ")}
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(c *nftables.Chain) bool {
			return c.Table.Name == ch.Table.Name && c.Table.Family == ch.Table.Family && strings.HasPrefix(c.Name, name)
		})
	}
	forward := *ch.Hooknum == *nftables.ChainHookForward
	iptables := "iptables"
	if ch.Table.Family == nftables.TableFamilyIPv6 {
		iptables = "ip6tables"
	}
	switch {
	case ch.Table.Name == "firewalld":
		o.Program = "firewalld"
		o.Commands = []string{
			"firewall-cmd --zone=trusted --change-interface=" + bridge,
			"firewall-cmd --permanent --zone=trusted --change-interface=" + bridge,
		}
	case forward && has("DOCKER-USER"):
		answers := " -m conntrack --ctstate RELATED,ESTABLISHED"
		if published {
			answers = ""
		}
		o.Program = "docker"
		o.Commands = []string{
			fmt.Sprintf("%s -I DOCKER-USER -i %s -j ACCEPT", iptables, bridge),
			fmt.Sprintf("%s -I DOCKER-USER -o %s%s -j ACCEPT", iptables, bridge, answers),
		}
	case has("ufw"):
		o.Program = "ufw"
		o.Commands = []string{"ufw allow in on " + bridge}
		if forward {
			o.Commands = []string{"ufw route allow in on " + bridge, "ufw route allow out on " + bridge}
		}
	case ch.Table.Name == "filter" && (ch.Name == "FORWARD" || ch.Name == "INPUT"): // iptables' names
		o.Commands = []string{fmt.Sprintf("%s -I %s -i %s -j ACCEPT", iptables, ch.Name, bridge)}
		if forward {
			o.Commands = append(o.Commands, fmt.Sprintf("%s -I %s -o %s -j ACCEPT", iptables, ch.Name, bridge))
		}
	default:
		o.Commands = []string{fmt.Sprintf("nft insert rule %s iifname %s accept", o.Chain, bridge)}
		if forward {
			o.Commands = append(o.Commands, fmt.Sprintf("nft insert rule %s oifname %s accept", o.Chain, bridge))
		}
	}
	return o
}
