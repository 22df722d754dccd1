package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func testNetwork() Network {
	return Network{
		Bridge: "br-0.x", Isolated: true,
		IPv4: Family{Address: netip.MustParsePrefix("10.1.2.1/24"), NAT: true, Filter: true},
		IPv6: Family{Address: netip.MustParsePrefix("fd42:1:2:3::1/64"), NAT: true, NATAddress: netip.MustParseAddr("2001:db8::7"), Filter: true, Routing: true},
		Forwards: []Forward{
			{Listen: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Ports: PortRange{80, 80}, Target: netip.MustParseAddr("10.1.2.9"), TargetPorts: PortRange{8080, 8080}},
			{Listen: netip.MustParseAddr("2001:db8::1"), Protocol: "udp", Ports: PortRange{100, 102}, Target: netip.MustParseAddr("fd42:1:2:3::9"), TargetPorts: PortRange{200, 202}},
		},
	}
}

// TestApply: nft shows what was meant; what is there already is not written
// again; what was taken away or added by hand is put right; a foreign table stays.
func TestApply(t *testing.T) {
	run(t, "nft", "add table inet foreign; add chain inet foreign f { type filter hook forward priority 0; }; add rule inet foreign f counter")
	before := ruleset(t)
	n := testNetwork()
	check(t, n.Apply())
	want := ruleset(t)
	for _, line := range []string{
		`table inet poolctl_br-0.x`,
		`iifname "br-0.x" oifname != "br-0.x" reject with icmpx admin-prohibited comment "no routing"`,
		`oifgroup 1886351212`,
		`ct status ! dnat`,
		`ip saddr 10.1.2.0/24 ip daddr != 10.1.2.0/24 oifname != "br-0.x" masquerade comment "NAT"`,
		`ip6 saddr fd42:1:2:3::/64 ip6 daddr != fd42:1:2:3::/64 oifname != "br-0.x" snat ip6 to 2001:db8::7`,
		`ip daddr 192.0.2.1 tcp dport 80 dnat ip to 10.1.2.9:8080`,
		`udp dport map { 100 : 200, 101 : 201, 102 : 202 }`,
	} {
		if !strings.Contains(want, line) {
			t.Errorf("no %q in\n%s", line, want)
		}
	}
	written := handles(t)
	start := time.Now()
	check(t, n.Apply())
	if took := time.Since(start); took > 50*time.Millisecond {
		t.Errorf("a second Apply took %v", took)
	}
	if handles(t) != written {
		t.Error("a second Apply wrote something")
	}
	for _, spoil := range []string{
		"flush ruleset",
		"delete table inet poolctl_br-0.x",
		"flush chain inet poolctl_br-0.x postrouting",
		"add rule inet poolctl_br-0.x forward drop",
		"insert rule inet poolctl_br-0.x forward accept",
		"add chain inet poolctl_br-0.x other",
		"add chain inet poolctl_br-0.x forward { policy drop; }",
	} {
		run(t, "nft", spoil)
		if ruleset(t) == want {
			t.Fatalf("%s changes nothing", spoil)
		}
		check(t, n.Apply())
		if got := run(t, "nft", "list", "table", "inet", "poolctl_br-0.x"); !strings.Contains(want, got) {
			t.Errorf("after %s:\n%s", spoil, got)
		}
		if spoil == "flush ruleset" {
			run(t, "nft", "add table inet foreign; add chain inet foreign f { type filter hook forward priority 0; }; add rule inet foreign f counter")
		}
	}
	n.IPv4, n.Forwards = Family{}, nil
	check(t, n.Apply())
	if got := ruleset(t); strings.Contains(got, "10.1.2") || strings.Contains(got, "dnat ip") {
		t.Errorf("after a change:\n%s", got)
	}
	links, err := Links()
	if err != nil || !slices.Equal(links, []string{"br-0.x"}) {
		t.Errorf("links %q, %v", links, err)
	}
	check(t, Remove(n.Bridge))
	check(t, Remove(n.Bridge))
	if got := ruleset(t); got != before {
		t.Errorf("rules after the removal:\n%s\nbefore:\n%s", got, before)
	}
	run(t, "nft", "delete table inet foreign")
}

// handles is the ruleset with the numbers that the kernel gave its parts: others
// when it is written anew.
func handles(t testing.TB) string {
	t.Helper()
	return run(t, "nft", "-a", "list", "ruleset")
}

// TestApplyLarge: the answers to a thousand rules fit the socket.
func TestApplyLarge(t *testing.T) {
	n := testNetwork()
	n.Forwards = nil
	for i := range 500 {
		p := uint16(1000 + i)
		n.Forwards = append(n.Forwards, Forward{
			Listen: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Ports: PortRange{p, p},
			Target: netip.MustParseAddr("10.1.2.9"), TargetPorts: PortRange{80, 80},
		})
	}
	n.Forwards = append(n.Forwards, Forward{
		Listen: netip.MustParseAddr("192.0.2.1"), Protocol: "udp", Ports: PortRange{1, 3000},
		Target: netip.MustParseAddr("10.1.2.9"), TargetPorts: PortRange{5001, 8000},
	})
	check(t, n.Apply())
	if got := strings.Count(ruleset(t), "dnat ip to 10.1.2.9:80 "); got != 1000 {
		t.Errorf("%d rules", got)
	}
	written := handles(t)
	check(t, n.Apply())
	if handles(t) != written {
		t.Error("a second Apply wrote something")
	}
	check(t, Remove(n.Bridge))
	var ports int
	for _, f := range n.Forwards[500].split() {
		ports += f.Ports.len()
		check(t, f.Validate())
	}
	if ports != 3000 {
		t.Errorf("%d ports", ports)
	}
}

// TestUnsupported: what a kernel says that lacks a part is told so.
func TestUnsupported(t *testing.T) {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.EINVAL} {
		var u *UnsupportedError
		if err := unsupported(fmt.Errorf("cannot: %w", e)); !errors.As(err, &u) || !errors.Is(err, e) || !strings.Contains(u.Hint(), "nft_masq") {
			t.Errorf("%v: %v", e, err)
		}
	}
	if err := unsupported(unix.EPERM); IsUnsupported(err) {
		t.Error("EPERM is no missing part")
	}
	if unsupported(nil) != nil {
		t.Error("no error is one")
	}
	// A kernel answers so to an expression or a type of chain that it does not have.
	n := testNetwork().table()
	n.chains[0].kind = "none"
	if err := n.apply(); !IsUnsupported(err) {
		t.Errorf("an unknown type of chain: %v", err)
	}
	if got := ruleset(t); got != "" {
		t.Errorf("rules stay:\n%s", got)
	}
}

func TestForwardValidate(t *testing.T) {
	good := Forward{Listen: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Ports: PortRange{1, 9}, Target: netip.MustParseAddr("10.0.0.2"), TargetPorts: PortRange{11, 19}}
	check(t, good.Validate())
	for name, change := range map[string]func(*Forward){
		"families":       func(f *Forward) { f.Target = netip.MustParseAddr("fd42::1") },
		"loopback":       func(f *Forward) { f.Listen = netip.MustParseAddr("127.0.0.1") },
		"no target":      func(f *Forward) { f.Target = netip.Addr{} },
		"target 0.0.0.0": func(f *Forward) { f.Target = netip.IPv4Unspecified() },
		"protocol":       func(f *Forward) { f.Protocol = "sctp" },
		"port 0":         func(f *Forward) { f.Ports.First = 0 },
		"backwards":      func(f *Forward) { f.Ports = PortRange{9, 1} },
		"fewer":          func(f *Forward) { f.TargetPorts.Last-- },
		"ports of all":   func(f *Forward) { f.Protocol = "" },
		"all of all":     func(f *Forward) { *f = Forward{Listen: netip.IPv4Unspecified(), Target: f.Target} },
	} {
		f := good
		change(&f)
		if f.Validate() == nil {
			t.Errorf("%s is accepted: %+v", name, f)
		}
		if (Published{Link: "none", Forwards: []Forward{f}}).Apply() == nil {
			t.Errorf("%s is applied: %+v", name, f)
		}
	}
}

func TestLinkLocal(t *testing.T) {
	hw, err := net.ParseMAC("00:16:3e:01:02:03")
	check(t, err)
	if got := linkLocal(hw).String(); got != "fe80::216:3eff:fe01:203" {
		t.Error(got)
	}
}

func BenchmarkApplyUnchanged(b *testing.B) {
	n := testNetwork()
	check(b, n.Apply())
	for b.Loop() {
		check(b, n.Apply())
	}
	check(b, Remove(n.Bridge))
}
