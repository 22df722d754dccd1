package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestPlugUndone: of devices that are added to a running instance together, a later one fails: the address that is reserved for the
// first one is given back, and the next time it is had.
func TestPlugUndone(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bridge, _, err := net.ParseCIDR(strings.TrimSpace(h.ok("network", "get", h.bridge, "ipv4.address")))
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr(bridge.String())
	for range 77 {
		address = address.Next()
	}
	h.okStdin(fmt.Sprintf(`devices:
  eth6: {type: nic, network: %s, ipv4.address: %s}
  web: {type: proxy, listen: "tcp:%s", connect: "tcp:127.0.0.1:80"}
`, h.bridge, address, taken.Addr()), "profile", "create", "both")
	before := h.ok("network", "list-leases", h.bridge, "--format", "csv")
	h.fails(1, `device web: .*address already in use`, "profile", "add", "c1", "both")
	if after := h.ok("network", "list-leases", h.bridge, "--format", "csv"); after != before {
		t.Errorf("the leases are\n%sand were\n%s", after, before)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	h.ok("profile", "add", "c1", "both")
	if after := h.ok("network", "list-leases", h.bridge, "--format", "csv"); strings.Count(after, address.String()+",") != 1 {
		t.Errorf("%s is not had:\n%s", address, after)
	}
	h.ok("profile", "remove", "c1", "both")
	h.ok("profile", "delete", "both")
}
