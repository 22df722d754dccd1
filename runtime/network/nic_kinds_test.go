package network

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// testParent is a pair of interfaces of the host's: what the instance gets, and what it
// is connected to.
func testParent(t testing.TB) (parent, peer string) {
	t.Helper()
	parent, peer = "pp"+RandomHostName()[4:], "pq"+RandomHostName()[4:]
	attrs := netlink.NewLinkAttrs()
	attrs.Name = parent
	link := &netlink.Veth{LinkAttrs: attrs, PeerName: peer}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(peer); err == nil {
			if err := netlink.LinkDel(l); err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range []string{parent, peer} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return parent, peer
}

// mustAttach prepares and attaches n.
func mustAttach(t testing.TB, n NIC, pid int) NIC {
	t.Helper()
	n, err := Prepare(n)
	if err == nil {
		err = Attach(t.Context(), n, pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Detach(n, nil); err != nil {
			t.Error(err)
		}
	})
	return n
}

// linkFacts is what `ip -d link` says of an interface, but for what counts.
func linkFacts(t testing.TB, name string) string {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	a := l.Attrs()
	return fmt.Sprint(a.Index, a.Name, a.HardwareAddr, a.MTU, a.Flags, l.Type())
}

// TestPhysical: an interface of the host's comes back as it was, whatever the
// instance did to it, with or without its namespace at hand.
func TestPhysical(t *testing.T) {
	parent, peer := testParent(t)
	before := linkFacts(t, parent)
	pid := guest(t, true)
	n := NIC{Device: "eth0", Kind: Physical, Parent: parent, Name: "eth0", HWAddr: RandomHWAddr(), MTU: 1400, IPv4: netip.MustParsePrefix("10.77.66.2/24")}
	n, err := Prepare(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	if out := mustIn(t, pid, "ip", "addr", "show", "eth0"); !strings.Contains(out, n.HWAddr) || !strings.Contains(out, "mtu 1400") || !strings.Contains(out, "10.77.66.2/24") {
		t.Error(out)
	}
	if err := CheckLink(parent); err == nil {
		t.Error("it is on the host still")
	}
	mustIn(t, pid, "ip", "link", "set", "eth0", "down")
	mustIn(t, pid, "ip", "link", "set", "eth0", "name", "mine", "address", "00:16:3e:11:22:33", "mtu", "1300")
	if err := DetachFrom(n, pid); err != nil {
		t.Fatal(err)
	}
	if after := linkFacts(t, parent); after != before {
		t.Errorf("%s, before %s", after, before)
	}
	if err := Detach(n, nil); err != nil { // once more
		t.Error(err)
	}
	// One that the kernel gave back under the name that it had inside.
	l, err := netlink.LinkByName(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		t.Fatal(err)
	}
	stray := "ps" + parent[2:]
	if err := netlink.LinkSetName(l, stray); err != nil {
		t.Fatal(err)
	}
	n.Name = stray
	if err := Detach(n, nil); err != nil {
		t.Fatal(err)
	}
	if after := linkFacts(t, parent); after != before {
		t.Errorf("%s, before %s", after, before)
	}
	if _, err := Prepare(NIC{Kind: Physical, Parent: "nosuch0", Name: "eth0"}); err == nil || !strings.Contains(err.Error(), "no interface nosuch0") {
		t.Error(err)
	}
	// One that was unplugged meanwhile is no error: there is nothing to give back.
	if n, err = Prepare(NIC{Kind: Physical, Parent: parent, Name: "eth0"}); err != nil {
		t.Fatal(err)
	}
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	other, err := netlink.LinkByName(peer)
	if err == nil {
		err = netlink.LinkDel(other)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := DetachFrom(n, pid); err != nil {
		t.Errorf("an interface that is gone: %v", err)
	}
}

// TestMacvlan reaches another on the same parent, by each mode but the isolating ones.
func TestMacvlan(t *testing.T) {
	parent, _ := testParent(t)
	one, two := guest(t, true), guest(t, false)
	for i, pid := range []int{one, two} {
		mustAttach(t, NIC{Kind: Macvlan, Parent: parent, Name: "eth0", HWAddr: RandomHWAddr(), IPv4: netip.MustParsePrefix(fmt.Sprintf("10.77.67.%d/24", i+1))}, pid)
	}
	mustIn(t, one, "ping", "-c1", "-W3", "10.77.67.2")
	n := NIC{Kind: Macvlan, Parent: parent, Name: "eth0"}
	if err := DetachFrom(n, one); err != nil {
		t.Fatal(err)
	}
	if out, err := in(t, one, "ip", "link", "show", "eth0"); err == nil {
		t.Error(out)
	}
	if err := Attach(t.Context(), NIC{Kind: Macvlan, Parent: parent, Name: "eth1", Mode: "passthru"}, one); err == nil {
		t.Error("passthru beside another is accepted")
	}
}

// TestP2P has routes to what is behind it, and an MTU and routes that change.
func TestP2P(t *testing.T) {
	pid := guest(t, true)
	n := mustAttach(t, NIC{Kind: P2P, Name: "eth0", HWAddr: RandomHWAddr(), Routes: []netip.Prefix{netip.MustParsePrefix("10.77.68.0/24"), netip.MustParsePrefix("fd42:77:68::/64")}}, pid)
	routes := func() string {
		return mustIn(t, os.Getpid(), "ip", "route", "show", "dev", n.HostName) + mustIn(t, os.Getpid(), "ip", "-6", "route", "show", "dev", n.HostName)
	}
	if out := routes(); !strings.Contains(out, "10.77.68.0/24") || !strings.Contains(out, "fd42:77:68::/64") {
		t.Error(out)
	}
	now := n
	now.MTU, now.Routes = 1280, []netip.Prefix{netip.MustParsePrefix("10.77.69.0/24")}
	if !n.SameBut(now) {
		t.Fatal("not the same")
	}
	if err := Update(n, now, pid); err != nil {
		t.Fatal(err)
	}
	if out := routes(); strings.Contains(out, "77.68") || strings.Contains(out, "77:68") || !strings.Contains(out, "10.77.69.0/24") {
		t.Error(out)
	}
	if out := mustIn(t, pid, "ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1280") {
		t.Error(out)
	}
}

// TestRouted is reached by its addresses, by the host and by another.
func TestRouted(t *testing.T) {
	v4, v6, err := RandomSubnets()
	if err != nil {
		t.Fatal(err)
	}
	a, b := v4.Addr(), v4.Addr().Next()
	six := v6.Addr()
	host4, host6 := netip.MustParseAddr("169.254.0.1"), netip.MustParseAddr("fe80::1")
	one, two := guest(t, true), guest(t, true)
	n := mustAttach(t, NIC{Kind: Routed, Name: "eth0", HWAddr: RandomHWAddr(), Addresses: []netip.Addr{a, six}, Host4: host4, Host6: host6, Gateway4: host4, Gateway6: host6}, one)
	mustAttach(t, NIC{Kind: Routed, Name: "eth0", HWAddr: RandomHWAddr(), Addresses: []netip.Addr{b}, Host4: host4, Gateway4: host4}, two)
	mustIn(t, os.Getpid(), "ping", "-c1", "-W3", a.String())
	mustIn(t, os.Getpid(), "ping", "-6", "-c1", "-W3", six.String())
	mustIn(t, one, "ping", "-c1", "-W3", b.String())
	if err := Attach(t.Context(), NIC{Kind: Routed, Name: "eth1", HostName: RandomHostName(), Addresses: []netip.Addr{a}, Host4: host4}, two); err == nil || !strings.Contains(err.Error(), "the host has a route to "+a.String()+" by "+n.HostName) {
		t.Error(err)
	}

	// On a network where somebody has the address already.
	parent, peer := testParent(t)
	c := b.Next()
	mustIn(t, os.Getpid(), "sysctl", "-w", "net/ipv4/conf/"+parent+"/forwarding=0")
	m := NIC{Kind: Routed, Name: "eth1", HostName: RandomHostName(), HWAddr: RandomHWAddr(), Parent: parent, Addresses: []netip.Addr{c}, Host4: host4, Probe4: true}
	if err := Attach(t.Context(), m, two); err == nil || !strings.Contains(err.Error(), "forwarding") {
		t.Error(err)
	}
	mustIn(t, os.Getpid(), "sysctl", "-w", "net/ipv4/conf/"+parent+"/forwarding=1")
	pid := guest(t, false)
	mustIn(t, os.Getpid(), "ip", "link", "set", peer, "netns", fmt.Sprint(pid))
	mustIn(t, pid, "ip", "addr", "add", c.String()+"/32", "dev", peer)
	mustIn(t, pid, "ip", "link", "set", peer, "up")
	if err := Attach(t.Context(), m, two); err == nil || !strings.Contains(err.Error(), "somebody on "+parent+" has the address "+c.String()) {
		t.Error(err)
	}
	mustIn(t, pid, "ip", "addr", "del", c.String()+"/32", "dev", peer)
	m = mustAttach(t, m, two)
	if out := mustIn(t, os.Getpid(), "ip", "neigh", "show", "proxy"); !strings.Contains(out, c.String()+" dev "+parent) {
		t.Error(out)
	}
	mustIn(t, pid, "ip", "addr", "add", c.Next().String()+"/24", "dev", peer)
	mustIn(t, pid, "busybox", "arping", "-c1", "-w3", "-I", peer, c.String())
	if err := Detach(m, nil); err != nil {
		t.Error(err)
	}
	if out := mustIn(t, os.Getpid(), "ip", "neigh", "show", "proxy"); strings.Contains(out, c.String()) {
		t.Error(out)
	}
	// The test's interface goes with its namespace.
}
