package firewall

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frames are what an instance may send, and what it must not; own is its
// hardware address, other its neighbour's, to whom they go.
type frame struct {
	name  string
	data  []byte
	drops string // by which filters it is dropped: m(ac), 4, 6
}

func ethernet(dst, src net.HardwareAddr, proto uint16, payload ...[]byte) []byte {
	return slices.Concat(dst, src, be16(proto), slices.Concat(payload...))
}

func arp(op uint16, hw net.HardwareAddr, ip string, target string) []byte {
	a, b := netip.MustParseAddr(ip).As4(), netip.MustParseAddr(target).As4()
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4}, be16(op), hw, a[:], make([]byte, 6), b[:])
}

func ipv4(src, dst string, proto byte, payload []byte) []byte {
	a, b := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	h := slices.Concat([]byte{0x45, 0}, be16(uint16(20+len(payload))), []byte{0, 0, 0, 0, 64, proto, 0, 0}, a[:], b[:])
	return append(h, payload...)
}

func ipv6(src, dst string, proto byte, payload []byte) []byte {
	a, b := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	h := slices.Concat([]byte{0x60, 0, 0, 0}, be16(uint16(len(payload))), []byte{proto, 255}, a[:], b[:])
	return append(h, payload...)
}

func udpPacket(from, to uint16) []byte {
	return slices.Concat(be16(from), be16(to), be16(16), []byte{0, 0}, []byte("contents"))
}

// nd is a message of neighbour discovery about target ("" for those without),
// with options.
func nd(message byte, target string, options ...[]byte) []byte {
	out := []byte{message, 0, 0, 0, 0, 0, 0, 0}
	if target != "" {
		out = append(out, netip.MustParseAddr(target).AsSlice()...)
	}
	return append(out, slices.Concat(options...)...)
}

func option(kind byte, hw net.HardwareAddr) []byte { return append([]byte{kind, 1}, hw...) }

// hopByHop puts an extension header before an ICMPv6 message.
func hopByHop(message []byte) []byte {
	return append([]byte{unix.IPPROTO_ICMPV6, 0, 1, 4, 0, 0, 0, 0}, message...)
}

func testFrames(own, other net.HardwareAddr) []frame {
	const (
		own4, own6, ownLocal = "10.77.1.11", "fd42:77:1::11", "fe80::216:3eff:fe11:1111"
		other4, other6       = "10.77.1.12", "fd42:77:1::12"
		all6, routers        = "ff02::1", "ff02::2"
	)
	var list []frame
	add := func(name, drops string, src net.HardwareAddr, proto uint16, payload []byte) {
		list = append(list, frame{name, ethernet(other, src, proto, payload), drops})
	}
	icmp := func(name, drops, src, dst string, message []byte) {
		add(name, drops, own, unix.ETH_P_IPV6, ipv6(src, dst, unix.IPPROTO_ICMPV6, message))
	}
	stolen := net.HardwareAddr{0, 0x16, 0x3e, 9, 9, 9}
	nonce := option(14, net.HardwareAddr{1, 2, 3, 4, 5, 6})

	add("honest IPv4", "", own, unix.ETH_P_IP, ipv4(own4, other4, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("honest IPv6", "", own, unix.ETH_P_IPV6, ipv6(own6, other6, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("honest link-local", "", own, unix.ETH_P_IPV6, ipv6(ownLocal, other6, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("honest ARP", "", own, unix.ETH_P_ARP, arp(1, own, own4, other4))
	add("honest ARP answer", "", own, unix.ETH_P_ARP, arp(2, own, own4, other4))
	add("DHCP discovery", "", own, unix.ETH_P_IP, ipv4("0.0.0.0", "255.255.255.255", unix.IPPROTO_UDP, udpPacket(68, 67)))
	add("DHCPv6 discovery", "", own, unix.ETH_P_IPV6, ipv6(ownLocal, "ff02::1:2", unix.IPPROTO_UDP, udpPacket(546, 547)))
	icmp("router solicitation", "", ownLocal, routers, nd(133, "", option(1, own)))
	icmp("router solicitation of nobody yet", "", "::", routers, nd(133, ""))
	icmp("neighbour solicitation", "", own6, all6, nd(135, other6, option(1, own)))
	icmp("duplicate address detection", "", "::", all6, nd(135, own6, nonce))
	icmp("duplicate address detection of a link-local address", "", "::", all6, nd(135, "fe80::1234", nonce))
	icmp("neighbour advertisement", "", own6, all6, nd(136, own6, option(2, own)))
	icmp("neighbour advertisement without option", "", own6, other6, nd(136, own6))
	icmp("group report", "", ownLocal, "ff02::16", []byte{143, 0, 0, 0, 0, 0, 0, 0})
	icmp("echo", "", own6, other6, []byte{128, 0, 0, 0, 0, 1, 0, 1, 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'})

	add("stolen MAC", "m46", stolen, unix.ETH_P_IP, ipv4(own4, other4, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("ARP with stolen MAC", "m46", own, unix.ETH_P_ARP, arp(2, stolen, own4, other4))
	icmp("advertisement with stolen MAC", "m46", own6, all6, nd(136, own6, option(2, stolen)))
	icmp("advertisement with stolen MAC behind another option", "m46", own6, all6, nd(136, own6, nonce, option(2, stolen)))
	icmp("advertisement with stolen MAC as second", "m46", own6, all6, nd(136, own6, option(2, own), option(2, stolen)))
	icmp("solicitation with stolen MAC", "m46", own6, all6, nd(135, other6, option(1, stolen)))
	icmp("solicitation with stolen MAC behind a nonce", "m46", own6, all6, nd(135, other6, nonce, option(1, stolen)))
	icmp("router solicitation with stolen MAC", "m46", ownLocal, routers, nd(133, "", option(1, stolen)))
	add("advertisement with stolen MAC behind a header", "m46", own, unix.ETH_P_IPV6, ipv6(own6, all6, 0, hopByHop(nd(136, own6, option(2, stolen)))))

	add("stolen IPv4", "4", own, unix.ETH_P_IP, ipv4(other4, own4, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("unspecified IPv4", "4", own, unix.ETH_P_IP, ipv4("0.0.0.0", other4, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("ARP of stolen IPv4", "4", own, unix.ETH_P_ARP, arp(2, own, "10.77.1.1", other4))
	add("DHCP answer", "4", own, unix.ETH_P_IP, ipv4(own4, "255.255.255.255", unix.IPPROTO_UDP, udpPacket(67, 68)))

	add("stolen IPv6", "6", own, unix.ETH_P_IPV6, ipv6(other6, own6, unix.IPPROTO_UDP, udpPacket(1, 2)))
	add("stolen link-local", "6", own, unix.ETH_P_IPV6, ipv6("fe80::1", own6, unix.IPPROTO_UDP, udpPacket(1, 2)))
	icmp("advertisement of stolen IPv6", "6", own6, all6, nd(136, other6, option(2, own)))
	icmp("solicitation from stolen IPv6", "6", other6, all6, nd(135, "fd42:77:1::1", option(1, own)))
	icmp("detection of another's address", "6", "::", all6, nd(135, other6, nonce))
	icmp("router advertisement", "6", ownLocal, all6, nd(134, "", []byte{0, 0, 0, 0, 0, 0, 0, 0}))
	add("router advertisement behind a header", "6", own, unix.ETH_P_IPV6, ipv6(ownLocal, all6, 0, hopByHop(nd(134, "", []byte{0, 0, 0, 0, 0, 0, 0, 0}))))
	icmp("redirect", "6", ownLocal, other6, nd(137, own6, netip.MustParseAddr("fd42::1").AsSlice()))
	add("DHCPv6 answer", "6", own, unix.ETH_P_IPV6, ipv6(ownLocal, other6, unix.IPPROTO_UDP, udpPacket(547, 546)))
	add("unknown protocol", "46", own, 0x88b5, []byte("anything"))
	add("IPv4 with a VLAN's tag", "46", own, unix.ETH_P_8021Q, append([]byte{0, 5, 8, 0}, ipv4(other4, own4, unix.IPPROTO_UDP, udpPacket(1, 2))...))
	return list
}

// packetSocket is a raw socket on eth0 of a host.
func packetSocket(t *testing.T, h *host) int {
	t.Helper()
	var fd int
	h.within(t, func() (err error) {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// passes says whether a frame that from sends arrives, before one sent after it.
func passes(t *testing.T, from, to int, f frame, marker []byte) bool {
	t.Helper()
	pad := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, max(0, 60-len(b)))...) }
	for _, data := range [][]byte{f.data, marker} {
		_, err := unix.Write(from, pad(data))
		check(t, err)
	}
	b := make([]byte, 2000)
	for end := time.Now().Add(5 * time.Second); ; {
		n, err := unix.Read(to, b)
		switch {
		case err == nil && bytes.HasPrefix(b[:n], marker):
			return false
		case err == nil && bytes.HasPrefix(untagged(f.data, b[:n]), f.data):
			for { // the marker
				if n, err := unix.Read(to, b); err == nil && bytes.HasPrefix(b[:n], marker) {
					return true
				} else if time.Now().After(end) {
					t.Fatalf("%s: the frame after it does not arrive", f.name)
				}
			}
		case time.Now().After(end):
			t.Fatalf("%s: neither it nor the frame after it arrives", f.name)
		}
	}
}

// untagged is what was received, with the VLAN's tag that the kernel keeps beside
// a frame put back if sent has one.
func untagged(sent, got []byte) []byte {
	if bytes.Equal(sent[12:14], be16(unix.ETH_P_8021Q)) && len(got) > 12 && !bytes.Equal(got[12:14], sent[12:14]) {
		return slices.Concat(got[:12], sent[12:16], got[12:])
	}
	return got
}

// TestNIC: every frame passes without filters; with them what is honest passes,
// and what is not is dropped, by the filter that is for it.
func TestNIC(t *testing.T) {
	w := newWorld(t)
	// Bridges check the headers of what they hand to iptables.
	for _, key := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		if err := os.WriteFile("/proc/sys/net/bridge/"+key, []byte("0"), 0); err == nil {
			t.Cleanup(func() { check(t, os.WriteFile("/proc/sys/net/bridge/"+key, []byte("1"), 0)) })
		}
	}
	own := net.HardwareAddr{0, 0x16, 0x3e, 0x11, 0x11, 0x11}
	w.a1.run(t, "ip", "link", "set", "eth0", "address", own.String())
	from, to := packetSocket(t, w.a1), packetSocket(t, w.a2)
	marker := ethernet(w.a2.hw, own, unix.ETH_P_ARP, arp(1, own, "10.77.1.11", "10.77.1.99"))
	before := ruleset(t)
	allowed := []netip.Prefix{single(w.a1.v4), single(w.a1.v6)}
	for _, n := range []struct {
		NIC
		drops string
	}{
		{NIC{}, ""},
		{NIC{MAC: true}, "m"},
		{NIC{MAC: true, IPv4: true}, "m4"},
		{NIC{MAC: true, IPv6: true}, "m6"},
		{NIC{MAC: true, IPv4: true, IPv6: true}, "m46"},
	} {
		n.Link, n.HWAddr, n.Allowed = w.a1.link, own, allowed
		check(t, n.Apply())
		check(t, n.Apply())
		for _, f := range testFrames(own, w.a2.hw) {
			want := true
			for _, d := range f.drops {
				want = want && !slices.Contains([]rune(n.drops), d)
			}
			if got := passes(t, from, to, f, marker); got != want {
				t.Errorf("filters %q: %s passes: %v", n.drops, f.name, got)
			}
		}
		w.a1.asks(t, "tcp", w.a2.v4, 7000, "7000 "+w.a1.v4.String())
		w.a1.asks(t, "tcp", w.a2.v6, 7000, "7000 "+w.a1.v6.String())
		w.a2.asks(t, "udp", w.a1.v6, 7000, "7000 "+w.a2.v6.String())
		w.a1.asks(t, "tcp", w.brA6, 7000, "7000 "+w.a1.v6.String())
	}
	// Without an address nothing of the family passes.
	n := NIC{Link: w.a1.link, HWAddr: own, MAC: true, IPv4: true, IPv6: true}
	check(t, n.Apply())
	w.a1.refused(t, "udp", w.a2.v4, 7000)
	w.a1.refused(t, "udp", w.a2.v6, 7000)
	check(t, NIC{Link: w.a1.link}.Apply())
	if got := ruleset(t); got != before {
		t.Errorf("rules stay:\n%s", got)
	}
}
