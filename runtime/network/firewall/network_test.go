package firewall

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

// TestNAT: who is outside sees the address that NAT gives, or the real one
// without NAT, in both families; inside the network nothing is translated.
func TestNAT(t *testing.T) {
	w := newWorld(t)
	w.apply(t)
	for _, network := range []string{"tcp", "udp"} {
		w.a1.asks(t, network, w.outside.v4, 7000, "7000 "+w.up4.String())
		w.a1.asks(t, network, w.outside.v6, 7000, "7000 "+w.up6.String())
		w.a1.asks(t, network, w.a2.v4, 7000, "7000 "+w.a1.v4.String())
		w.a1.asks(t, network, w.a2.v6, 7000, "7000 "+w.a1.v6.String())
		w.a1.asks(t, network, w.brA4, 7000, "7000 "+w.a1.v4.String())
		(*host)(nil).asks(t, network, w.a1.v4, 7000, "7000 "+w.brA4.String())
	}
	// Another address of the host, by which the answers come back.
	run(t, "ip", "address", "add", "198.51.100.77/32", "dev", "up0")
	run(t, "ip", "address", "add", "2001:db8:100::77/128", "dev", "up0", "nodad")
	w.a.IPv4.NATAddress, w.a.IPv6.NATAddress = netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("2001:db8:100::77")
	w.apply(t)
	w.a1.asks(t, "tcp", w.outside.v4, 7000, "7000 198.51.100.77")
	w.a1.asks(t, "tcp", w.outside.v6, 7000, "7000 2001:db8:100::77")
	w.b1.asks(t, "tcp", w.outside.v4, 7000, "7000 "+w.up4.String())
	w.a.IPv4.NAT, w.a.IPv6.NAT = false, false
	w.apply(t)
	w.a1.asks(t, "tcp", w.outside.v4, 7000, "7000 "+w.a1.v4.String())
	w.a1.asks(t, "tcp", w.outside.v6, 7000, "7000 "+w.a1.v6.String())
	w.outside.asks(t, "tcp", w.a1.v4, 7000, "7000 "+w.outside.v4.String())
}

// TestRouting: without routing nothing goes in or out, but to and from the host.
func TestRouting(t *testing.T) {
	w := newWorld(t)
	w.a.IPv4.Routing = false
	w.apply(t)
	w.a1.refused(t, "tcp", w.outside.v4, 7000)
	w.outside.refused(t, "tcp", w.a1.v4, 7000)
	w.a1.asks(t, "tcp", w.outside.v6, 7000, "7000 "+w.up6.String())
	w.a1.asks(t, "tcp", w.brA4, 7000, "7000 "+w.a1.v4.String())
	w.a1.asks(t, "tcp", w.a2.v4, 7000, "7000 "+w.a1.v4.String())
	(*host)(nil).asks(t, "tcp", w.a1.v4, 7000, "7000 "+w.brA4.String())
	w.a.IPv4.Routing, w.a.IPv6.Routing = true, false
	w.apply(t)
	w.a1.refused(t, "tcp", w.outside.v6, 7000)
	w.outside.refused(t, "tcp", w.a1.v6, 7000)
	w.a1.asks(t, "tcp", w.outside.v4, 7000, "7000 "+w.up4.String())
	// The rules that forbid are not wanted.
	w.a.IPv6.Filter = false
	w.apply(t)
	w.a1.asks(t, "tcp", w.outside.v6, 7000, "7000 "+w.up6.String())
}

// TestIsolation: networks do not reach each other, nor the host's address on
// the other one, until both are open.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ a, b bool }{{true, true}, {true, false}, {false, true}} {
		w.a.Isolated, w.b.Isolated = c.a, c.b
		w.apply(t)
		w.a1.refused(t, "tcp", w.b1.v4, 7000)
		w.a1.refused(t, "udp", w.b1.v6, 7000)
		w.b1.refused(t, "tcp", w.a1.v4, 7000)
		w.b1.refused(t, "tcp", w.a1.v6, 7000)
		if c.b {
			w.a1.refused(t, "tcp", w.brB4, 7000)
		}
		if c.a {
			w.b1.refused(t, "tcp", w.brA4, 7000)
			w.b1.refused(t, "tcp", w.brA6, 7000)
		}
		w.a1.asks(t, "tcp", w.outside.v4, 7000, "7000 "+w.up4.String())
		w.a1.asks(t, "tcp", w.brA4, 7000, "7000 "+w.a1.v4.String())
		w.a1.asks(t, "tcp", w.a2.v4, 7000, "7000 "+w.a1.v4.String())
	}
	w.a.Isolated, w.b.Isolated = false, false
	w.apply(t)
	w.a1.asks(t, "tcp", w.b1.v4, 7000, "7000 "+w.brB4.String())
	w.b1.asks(t, "tcp", w.a1.v6, 7000, "7000 "+w.brA6.String())
}

// TestForwards: published ports are reached from outside, from the same network
// (the target itself included), from another network and from the host.
func TestForwards(t *testing.T) {
	w := newWorld(t)
	for _, port := range []int{7100, 7101, 7102} {
		w.a1.serve(t, port)
	}
	publish := func(listen, target netip.Addr) []Forward {
		f := func(protocol string, first, last, tFirst, tLast uint16) Forward {
			return Forward{Listen: listen, Protocol: protocol, Ports: PortRange{first, last}, Target: target, TargetPorts: PortRange{tFirst, tLast}}
		}
		return []Forward{
			f("tcp", 80, 80, 7000, 7000), f("udp", 80, 80, 7000, 7000),
			f("tcp", 7100, 7102, 7100, 7102), f("udp", 8100, 8102, 7100, 7102), f("tcp", 8100, 8102, 7100, 7102),
			f("tcp", 9000, 9009, 7000, 7000),
		}
	}
	check(t, Hairpin(w.a1.link))
	before := ruleset(t)
	for name, listen := range map[string][2]netip.Addr{
		"address": {w.up4, w.up6}, "any": {netip.IPv4Unspecified(), netip.IPv6Unspecified()},
	} {
		t.Run(name, func(t *testing.T) {
			forwards := append(publish(listen[0], w.a1.v4), publish(listen[1], w.a1.v6)...)
			for _, byNIC := range []bool{false, true} { // as the network's, as the interface's
				w.a.Forwards = nil
				if byNIC {
					check(t, Published{w.a1.link, []netip.Prefix{w.a.IPv4.Address.Masked(), w.a.IPv6.Address.Masked()}, forwards}.Apply())
				} else {
					w.a.Forwards = forwards
				}
				w.apply(t)
				for _, to := range []netip.Addr{w.up4, w.up6} {
					pick := func(v4, v6 netip.Addr) string {
						if to.Is4() {
							return v4.String()
						}
						return v6.String()
					}
					for from, as := range map[*host]string{
						w.outside: pick(w.outside.v4, w.outside.v6), w.a2: pick(w.brA4, w.brA6),
						w.a1: pick(w.brA4, w.brA6), w.b1: pick(w.brA4, w.brA6), nil: to.String(),
					} {
						from.asks(t, "tcp", to, 80, "7000 "+as)
						from.asks(t, "udp", to, 80, "7000 "+as)
						from.asks(t, "tcp", to, 7101, "7101 "+as)
						from.asks(t, "tcp", to, 8102, "7102 "+as)
						from.asks(t, "udp", to, 8100, "7100 "+as)
						from.asks(t, "tcp", to, 9005, "7000 "+as)
						from.refused(t, "tcp", to, 9010)
					}
					// Outside the published ports the host itself answers.
					w.outside.asks(t, "tcp", to, 7000, "7000 "+pick(w.outside.v4, w.outside.v6))
				}
				check(t, Published{Link: w.a1.link}.Apply())
			}
		})
	}
	w.a.Forwards = []Forward{{Listen: netip.MustParseAddr("198.51.100.50"), Target: w.a1.v4}}
	run(t, "ip", "address", "add", "198.51.100.50/32", "dev", "up0")
	w.apply(t)
	w.outside.asks(t, "udp", netip.MustParseAddr("198.51.100.50"), 7102, "7102 "+w.outside.v4.String())
	check(t, Remove("brA"))
	check(t, Remove("brB"))
	if got := ruleset(t); got != before {
		t.Errorf("rules stay:\n%s", got)
	}
}

// TestConcurrent: networks and interfaces that are set up and taken away at the
// same time do not disturb each other, nor a foreign table.
func TestConcurrent(t *testing.T) {
	run(t, "nft", "add table ip foreign; add chain ip foreign f { type nat hook postrouting priority 100; }; add rule ip foreign f ip saddr 10.99.0.0/16 masquerade")
	defer run(t, "nft", "delete table ip foreign")
	before := ruleset(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			n := testNetwork()
			n.Bridge = fmt.Sprintf("br%d", i)
			for range 10 {
				if err := n.Apply(); err != nil {
					t.Error(err)
				}
				if err := Remove(n.Bridge); err != nil {
					t.Error(err)
				}
			}
			if err := n.Apply(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	links, err := Links()
	if err != nil || len(links) != 8 {
		t.Errorf("links %q, %v", links, err)
	}
	for _, l := range links {
		check(t, Remove(l))
	}
	if got := ruleset(t); got != before {
		t.Errorf("rules after:\n%s\nbefore:\n%s", got, before)
	}
}
