package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// udhcpcScript does what images' scripts do: takes all addresses away first,
// then sets what the server gave.
const udhcpcScript = `#!/bin/sh
case "$1" in
deconfig) busybox ip -4 addr flush dev "$interface" ;;
bound|renew)
	busybox ip addr add "$ip/$mask" dev "$interface"
	busybox ip route add default via "$router" dev "$interface"
	echo "ip=$ip mask=$mask router=$router lease=$lease host=$hostname routes=$staticroutes" ;;
esac
`

// dhcp runs busybox's client inside and returns what it printed.
func dhcp(t *testing.T, pid int) (string, error) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(udhcpcScript), 0o755); err != nil {
		t.Fatal(err)
	}
	return in(t, pid, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", script)
}

// TestDHCP: a client inside comes to the address that is set from outside.
func TestDHCP(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	// Names that dnsmasq reads as something else must not harm.
	for _, name := range []string{"web", "ignore", "1h", "infinite", "10.1.2.3", "a_b"} {
		t.Run(name, func(t *testing.T) {
			pid := guest(t, true)
			n := testNIC(t, b, name)
			if err := Attach(t.Context(), n, pid); err != nil {
				t.Fatal(err)
			}
			out, err := dhcp(t, pid)
			if err != nil {
				t.Fatalf("udhcpc: %v\n%s", err, out)
			}
			want := "ip=" + n.IPv4.Addr().String() + " mask=24 router=" + b.IPv4.Addr().String() + " lease=3600"
			if !strings.Contains(out, want) {
				t.Errorf("got %s, want %s", out, want)
			}
			reach(t, n.IPv4.Addr().String())
		})
	}
}

// TestDHCPRoutes: a client is told the network's routes, the default route among them.
func TestDHCPRoutes(t *testing.T) {
	b := testBridge(t)
	via := b.IPv4.Addr().Next()
	var err error
	if b.StaticRoutes4, err = ParseStaticRoutes("192.0.2.0/24," + via.String()); err != nil {
		t.Fatal(err)
	}
	mustUp(t, b)
	pid := guest(t, true)
	if err := Attach(t.Context(), testNIC(t, b, "web"), pid); err != nil {
		t.Fatal(err)
	}
	out, err := dhcp(t, pid)
	if want := "routes=192.0.2.0/24 " + via.String() + " 0.0.0.0/0 " + b.IPv4.Addr().String(); err != nil || !strings.Contains(out, want) {
		t.Errorf("want %s, got %v, %s", want, err, out)
	}
}

// TestDHCPOnly: a client that nothing was set for gets the reserved address;
// one without a reservation gets nothing.
func TestDHCPOnly(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, true)
	n := NIC{Bridge: b.Name, Name: "eth0", HWAddr: RandomHWAddr()}
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	if out, err := dhcp(t, pid); err == nil {
		t.Errorf("a client without a reservation got an address: %s", out)
	}
	v4, v6, err := b.Reserve("web", n.HWAddr, netip.Addr{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := dhcp(t, pid); err != nil || !strings.Contains(out, "ip="+v4.String()+" ") {
		t.Errorf("want %s, got %v, %s", v4, err, out)
	}
	// SLAAC comes to the address that Reserve computed, and a default route.
	eventually(t, 15*time.Second, func() string {
		addrs, routes := mustIn(t, pid, "ip", "-6", "addr", "show", "dev", "eth0"), mustIn(t, pid, "ip", "-6", "route")
		if !strings.Contains(addrs, v6.String()+"/64") || !strings.Contains(routes, "default via fe80::") {
			return "no SLAAC: want " + v6.String() + ", have\n" + addrs + routes
		}
		return ""
	})
	reach(t, v6.String())
	// Released, the address is offered no more.
	if err := b.Release(n.HWAddr); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		if out, err := dhcp(t, pid); err == nil {
			return "a released address is still given: " + out
		}
		return ""
	})
	// Its lease goes on, so another hardware address gets another one.
	leased, err := b.leased("")
	if err != nil || !leased[v4] {
		t.Errorf("leases %v, %v", leased, err)
	}
}

// TestAdvertisementKeepsAddress: a router advertisement does not put an end to
// the address that Attach set.
func TestAdvertisementKeepsAddress(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() string {
		if out := mustIn(t, pid, "ip", "-6", "route"); !strings.Contains(out, "default via fe80::") {
			return "no advertisement came: " + out
		}
		return ""
	})
	out := mustIn(t, pid, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
	if strings.Count(out, "inet6") != 1 || !strings.Contains(out, n.IPv6.String()) || !strings.Contains(out, "valid_lft forever preferred_lft forever") {
		t.Errorf("addresses inside: %s", out)
	}
}

// TestDHCPAfterRestart: reservations outlive dnsmasq and the run directory.
func TestDHCPAfterRestart(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := b.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustUp(t, b)
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	if out, err := dhcp(t, pid); err != nil || !strings.Contains(out, "ip="+n.IPv4.Addr().String()+" ") {
		t.Errorf("want %s, got %v, %s", n.IPv4, err, out)
	}
}

// TestDnsmasqLivesOn: dnsmasq is in a session of its own and holds nothing of
// the process that started it.
func TestDnsmasqLivesOn(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	s, err := b.State()
	if err != nil || s.DnsmasqPID == 0 {
		t.Fatal(s, err)
	}
	sid, err := unix.Getsid(s.DnsmasqPID)
	own, ownErr := unix.Getsid(0)
	if err != nil || ownErr != nil || sid == own {
		t.Errorf("dnsmasq's session %d, own %d, %v, %v", sid, own, err, ownErr)
	}
	fds, err := filepath.Glob("/proc/" + itoa(s.DnsmasqPID) + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasSuffix(target, ".lock") {
			t.Errorf("dnsmasq holds %s", target)
		}
	}
}

// TestSmallNetwork: all addresses of a /30 and of a /29 can be had, not more.
func TestSmallNetwork(t *testing.T) {
	b := testBridge(t)
	b.IPv4 = netip.PrefixFrom(b.IPv4.Addr(), 29)
	mustUp(t, b)
	pid := guest(t, true)
	seen := map[netip.Addr]bool{}
	var last NIC
	for range 5 {
		last = testNIC(t, b, "web")
		seen[last.IPv4.Addr()] = true
	}
	if len(seen) != 5 || seen[b.IPv4.Addr()] {
		t.Errorf("addresses %v", seen)
	}
	if _, _, err := b.Reserve("web", RandomHWAddr(), netip.Addr{}, netip.Addr{}); err == nil || !strings.Contains(err.Error(), "all of its addresses are reserved") {
		t.Errorf("error %v", err)
	}
	if err := Attach(t.Context(), last, pid); err != nil {
		t.Fatal(err)
	}
	if out, err := dhcp(t, pid); err != nil || !strings.Contains(out, "ip="+last.IPv4.Addr().String()+" mask=29 ") {
		t.Errorf("want %s, got %v, %s", last.IPv4, err, out)
	}
}

// TestTwoNetworks: two at once answer their own clients only.
func TestTwoNetworks(t *testing.T) {
	for range 2 {
		b := testBridge(t)
		mustUp(t, b)
		defer func() {
			pid := guest(t, true)
			n := testNIC(t, b, "web")
			if err := Attach(t.Context(), n, pid); err != nil {
				t.Fatal(err)
			}
			if out, err := dhcp(t, pid); err != nil || !strings.Contains(out, "ip="+n.IPv4.Addr().String()+" mask=24 router="+b.IPv4.Addr().String()) {
				t.Errorf("want %s, got %v, %s", n.IPv4, err, out)
			}
		}()
	}
}
