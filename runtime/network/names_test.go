package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// resolver asks a network's dnsmasq.
func resolver(b Bridge) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", net.JoinHostPort(b.IPv4.Addr().String(), "53"))
	}}
}

// TestNames: instances have names in both families and back, from their reservation
// on, and until that is released.
func TestNames(t *testing.T) {
	b := testBridge(t)
	b.Domain = "lab.test"
	b.RawDnsmasq = "address=/raw.test/192.0.2.77"
	mustUp(t, b)
	ctx := t.Context()
	n := testNIC(t, b, "web")
	eventually(t, 10*time.Second, func() string {
		addrs, err := resolver(b).LookupHost(ctx, "web.lab.test.")
		slices.Sort(addrs)
		if want := []string{n.IPv4.Addr().String(), n.IPv6.Addr().String()}; !slices.Equal(addrs, want) {
			return strings.Join(addrs, " ") + errText(err)
		}
		return ""
	})
	for _, a := range []netip.Addr{n.IPv4.Addr(), n.IPv6.Addr()} {
		names, err := resolver(b).LookupAddr(ctx, a.String())
		if err != nil || !slices.Contains(names, "web.lab.test.") {
			t.Errorf("%s is %v, %v", a, names, err)
		}
	}
	for name, want := range map[string]string{"raw.test.": "192.0.2.77", "_gateway.lab.test.": b.IPv4.Addr().String(), "web.": n.IPv4.Addr().String()} {
		if addrs, err := resolver(b).LookupHost(ctx, name); err != nil || !slices.Contains(addrs, want) {
			t.Errorf("%s is %v, %v", name, addrs, err)
		}
	}
	// What is not there is not asked elsewhere.
	var dnsErr *net.DNSError
	if addrs, err := resolver(b).LookupHost(ctx, "other.lab.test."); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Errorf("%v, %v", addrs, err)
	}
	if err := b.Release(n.HWAddr); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		if addrs, err := resolver(b).LookupHost(ctx, "web.lab.test."); err == nil {
			return "a released name is still there: " + strings.Join(addrs, " ")
		}
		return ""
	})
	testNIC(t, b, "db")
	b.DNSMode = DNSNone
	mustUp(t, b)
	if addrs, err := resolver(b).LookupHost(ctx, "db.lab.test."); err == nil {
		t.Errorf("without names: %v", addrs)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestNamesDynamic: an instance's own name counts, and only then.
func TestNamesDynamic(t *testing.T) {
	for _, mode := range []DNSMode{DNSManaged, DNSDynamic} {
		b := testBridge(t)
		b.DNSMode = mode
		mustUp(t, b)
		pid := guest(t, true)
		n := testNIC(t, b, "web")
		if err := Attach(t.Context(), n, pid); err != nil {
			t.Fatal(err)
		}
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte(udhcpcScript), 0o755); err != nil {
			t.Fatal(err)
		}
		mustIn(t, pid, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", script, "-x", "hostname:other")
		addrs, err := resolver(b).LookupHost(t.Context(), "other.lxd.")
		if is := err == nil && slices.Contains(addrs, n.IPv4.Addr().String()); is != (mode == DNSDynamic) {
			t.Errorf("mode %q: other.lxd is %v, %v", mode, addrs, err)
		}
	}
}

// TestDHCPOptions: what a client is told.
func TestDHCPOptions(t *testing.T) {
	b := testBridge(t)
	base := b.IPv4.Addr().String()[:strings.LastIndex(b.IPv4.Addr().String(), ".")+1]
	b.Ranges4 = ranges(t, base+"77-"+base+"77")
	b.Expiry4, b.Gateway4, b.MTU = "7m", netip.MustParseAddr(base+"254"), 1400
	b.Nameservers = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	b.Search = []string{"a.test", "b.test"}
	mustUp(t, b)
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" != bound ] || echo \"ip=$ip router=$router lease=$lease dns=$dns mtu=$mtu search=$search domain=$domain\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out := mustIn(t, pid, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-O", "search", "-O", "mtu", "-s", script)
	want := "ip=" + base + "77 router=" + base + "254 lease=420 dns=192.0.2.53 mtu=1400 search=a.test b.test domain=lxd"
	if !strings.Contains(out, want) {
		t.Errorf("got %s, want %s", out, want)
	}
	if link := mustIn(t, pid, "ip", "link", "show", "dev", "eth0"); !strings.Contains(link, "mtu 1400") {
		t.Errorf("inside: %s", link)
	}
	b.DHCP4, b.NoGateway4 = false, true
	mustUp(t, b)
	if out, err := dhcp(t, pid); err == nil {
		t.Errorf("without DHCP: %s", out)
	}
}

// TestStateful: DHCPv6 gives the reserved address, and SLAAC none.
func TestStateful(t *testing.T) {
	b := testBridge(t)
	b.Stateful6 = true
	prefix := strings.TrimSuffix(b.IPv6.Masked().Addr().String(), "::")
	b.Ranges6 = ranges(t, prefix+"::1000-"+prefix+"::1fff")
	mustUp(t, b)
	pid := guest(t, true)
	hw := RandomHWAddr()
	_, v6, err := b.Reserve("web", hw, netip.Addr{}, netip.Addr{})
	if err != nil || !b.Ranges6[0].Contains(v6) {
		t.Fatal(v6, err)
	}
	if err := Attach(t.Context(), NIC{Bridge: b.Name, Name: "eth0", HWAddr: hw}, pid); err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC(hw)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() string {
		got, err := solicit(pid, mac)
		if err != nil || got != v6 {
			return "want " + v6.String() + ", got " + got.String() + " " + errText(err)
		}
		return ""
	})
	if out := mustIn(t, pid, "ip", "-6", "addr", "show", "dev", "eth0", "scope", "global"); strings.Contains(out, "inet6") {
		t.Errorf("an address by SLAAC: %s", out)
	}
}

// solicit is a DHCPv6 client (RFC 8415) in the network namespace of a process: it asks
// for an address with a rapid commit, and returns what the server gives.
func solicit(pid int, mac net.HardwareAddr) (addr netip.Addr, err error) {
	// The thread is put back and goes on: guests end with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return addr, err
	}
	defer own.Close()
	defer func() { err = errors.Join(err, unix.Setns(int(own.Fd()), unix.CLONE_NEWNET)) }()
	return solicitHere(pid, mac)
}

func solicitHere(pid int, mac net.HardwareAddr) (netip.Addr, error) {
	ns, err := os.Open("/proc/" + itoa(pid) + "/ns/net")
	if err != nil {
		return netip.Addr{}, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return netip.Addr{}, err
	}
	conn, err := net.ListenPacket("udp6", "[::]:546")
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		return netip.Addr{}, err
	}
	duid := append([]byte{0, 3, 0, 1}, mac...) // DUID-LL
	msg := []byte{1, 0x12, 0x34, 0x56}         // SOLICIT
	msg = append(append(msg, 0, 1, 0, byte(len(duid))), duid...)
	msg = append(msg, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0) // IA_NA
	msg = append(msg, 0, 14, 0, 0, 0, 8, 0, 2, 0, 0)                   // rapid commit, elapsed time
	to := &net.UDPAddr{IP: net.ParseIP("ff02::1:2"), Port: 547, Zone: itoa(link.Attrs().Index)}
	if _, err := conn.WriteTo(msg, to); err != nil {
		return netip.Addr{}, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return netip.Addr{}, err
	}
	buf := make([]byte, 1500)
	n, _, err := conn.ReadFrom(buf)
	if err != nil {
		return netip.Addr{}, err
	}
	for opts := buf[4:n]; len(opts) >= 4; {
		code, size := int(opts[0])<<8|int(opts[1]), int(opts[2])<<8|int(opts[3])
		body := opts[4 : 4+size]
		if code == 3 && size >= 12+4+16 && buf[0] == 7 { // REPLY: IA_NA with an IA address first
			addr, _ := netip.AddrFromSlice(body[16:32])
			return addr, nil
		}
		opts = opts[4+size:]
	}
	return netip.Addr{}, errors.New("no address in the reply")
}

// TestChange: a network that is up becomes what it is to be, and its interfaces with it.
func TestChange(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	was := Reservation{n.HWAddr, "web", n.IPv4.Addr(), n.IPv6.Addr()}
	v4, v6, err := RandomSubnets()
	if err != nil {
		t.Fatal(err)
	}
	routed, err := RandomIPv4(v4, b.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	to := b
	to.IPv4, to.IPv6, to.MTU, to.HWAddr, to.Routes4 = v4, v6, 1400, "00:16:3e:12:34:56", []netip.Prefix{routed.Masked()}
	mustUp(t, to)
	list, err := to.Reservations()
	if err != nil || len(list) != 1 || !v4.Contains(list[0].IPv4) || hostMask(v4)&toUint32(list[0].IPv4) != hostMask(v4)&toUint32(was.IPv4) || !v6.Contains(list[0].IPv6) {
		t.Fatalf("%+v, was %+v, %v", list, was, err)
	}
	// A first time that was killed when one end of the pair had the new MTU, and a second one.
	outer, err := netlink.LinkByName(n.HostName)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Readdress(pid, n.HWAddr, b.Place(was), to.Place(list[0])); err != nil {
			t.Fatal(err)
		}
		if outer, err = netlink.LinkByName(n.HostName); err != nil || outer.Attrs().MTU != 1400 {
			t.Errorf("%+v, %v", outer, err)
		}
		if err := netlink.LinkSetMTU(outer, 1500); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetMTU(outer, 1400); err != nil {
		t.Fatal(err)
	}
	without := n
	without.NoIPv4, without.MTU = true, 1300
	if m := without.Moved(to.Place(list[0])); m.IPv4.IsValid() || m.Gateway4.IsValid() || m.IPv6.Addr() != list[0].IPv6 || m.Own(to.Place(list[0])).MTU != 0 {
		t.Errorf("%+v", m)
	}
	out := mustIn(t, pid, "ip", "addr", "show", "dev", "eth0", "scope", "global")
	if strings.Count(out, "inet") != 2 || !strings.Contains(out, list[0].IPv4.String()) || !strings.Contains(out, list[0].IPv6.String()) || !strings.Contains(out, "mtu 1400") {
		t.Errorf("inside: %s", out)
	}
	if out := mustIn(t, pid, "ip", "route"); strings.Count(out, "default") != 1 || !strings.Contains(out, "default via "+v4.Addr().String()) {
		t.Errorf("routes inside: %s", out)
	}
	reach(t, list[0].IPv4.String())
	reach(t, list[0].IPv6.String())
	link, err := netlink.LinkByName(b.Name)
	if err != nil || link.Attrs().MTU != 1400 || link.Attrs().HardwareAddr.String() != to.HWAddr {
		t.Errorf("%+v, %v", link, err)
	}
	routes := func() int {
		list, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_STATIC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if routes() != 1 {
		t.Errorf("%d routes", routes())
	}
	// Back, as a failed change is taken back.
	if err := b.SetReservations([]Reservation{was, {HWAddr: "00:16:3e:99:99:99", Instance: "gone", IPv4: was.IPv4}}); err != nil {
		t.Fatal(err)
	}
	mustUp(t, b)
	if err := Readdress(pid, n.HWAddr, to.Place(list[0]), b.Place(was)); err != nil {
		t.Fatal(err)
	}
	if back, err := b.Reservations(); err != nil || len(back) != 1 || back[0] != was || routes() != 0 {
		t.Errorf("%+v, was %+v, %d routes, %v", back, was, routes(), err)
	}
	reach(t, was.IPv4.String())
}

// TestPulse: what is gone is noticed, and the ports of a bridge that was made anew come back.
func TestPulse(t *testing.T) {
	b := testBridge(t)
	if p, err := b.Pulse(); err != nil || p != (Pulse{}) {
		t.Errorf("%+v, %v", p, err)
	}
	mustUp(t, b)
	p, err := b.Pulse()
	if err != nil || !p.Alive || p.Index == 0 || p.PID == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		if p, err := b.Pulse(); err != nil || p.Alive || p.PID != 0 {
			return "dnsmasq still counts"
		}
		return ""
	})
	link, err := netlink.LinkByName(b.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	mustUp(t, b)
	if again, err := b.Pulse(); err != nil || !again.Alive || again.Index == p.Index || again.PID == p.PID || IsJoined(n.HostName, b.Name) {
		t.Errorf("%+v, was %+v, %v", again, p, err)
	}
	if err := errors.Join(Join(n.HostName, b.Name), Join("none-such", b.Name)); err != nil || !IsJoined(n.HostName, b.Name) {
		t.Error(err)
	}
	reach(t, n.IPv4.Addr().String())
}
