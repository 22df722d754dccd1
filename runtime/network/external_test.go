package network

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// An interface of the host's is on the bridge as long as it is to be, unless it is in use or gone.
func TestExternal(t *testing.T) {
	parent, peer := testParent(t)
	b := testBridge(t)
	mustUp(t, b)
	port := func(name string) string {
		t.Helper()
		l, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if l.Attrs().MasterIndex == 0 {
			return ""
		}
		master, err := netlink.LinkByIndex(l.Attrs().MasterIndex)
		if err != nil {
			t.Fatal(err)
		}
		return master.Attrs().Name
	}
	link, err := netlink.LinkByName(peer)
	if err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, 9), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{peer: "has the address 198.51.100.9/32", "lo": "cannot be on a bridge", "nosuch0": "the host has no interface nosuch0"} {
		b.External = []string{parent, name}
		if err := b.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.External = []string{parent, "nosuch0"} // one that went later
	mustUp(t, b)
	if port(parent) != b.Name || !slices.Equal(b.MissingExternal(), []string{"nosuch0"}) {
		t.Errorf("%s is on %q, and missing are %v", parent, port(parent), b.MissingExternal())
	}
	b.External = []string{parent}
	if err := b.Check(t.Context()); err != nil {
		t.Errorf("as it is: %v", err)
	}
	if err := b.ReleaseExternal([]string{parent}); err != nil || port(parent) != b.Name {
		t.Errorf("it stays: %v", err)
	}
	if err := b.ReleaseExternal(nil); err != nil || port(parent) != "" {
		t.Errorf("it goes: %v, on %q", err, port(parent))
	}
	for _, list := range [][]string{{b.Name}, {parent, parent}, {"a/b"}} {
		b.External = list
		if b.Validate() == nil {
			t.Errorf("%v is accepted", list)
		}
	}
}
