package network

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// ipNet converts an address with its prefix length to the form of package net.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// fromIPNet is the reverse of ipNet; the zero Prefix when n is not a subnet.
func fromIPNet(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	ones, bits := n.Mask.Size()
	if bits == 0 {
		return netip.Prefix{}
	}
	if addr.Is4In6() && bits == 32 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, ones)
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	base := p.Masked().Addr().As4()
	return fromUint32(binary.BigEndian.Uint32(base[:]) | hostMask(p))
}

// hostMask has a one for each bit of an IPv4 network's host part.
func hostMask(p netip.Prefix) uint32 {
	return uint32(uint64(1)<<(32-p.Bits()) - 1)
}

func fromUint32(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// eui64 is the address that SLAAC forms of a prefix and a hardware address with
// a modified EUI-64 interface identifier (RFC 4291, appendix A): what Linux
// gives an interface whose addr_gen_mode is eui64, the default.
func eui64(prefix netip.Prefix, hw net.HardwareAddr) netip.Addr {
	b := prefix.Masked().Addr().As16()
	copy(b[8:], []byte{hw[0] ^ 2, hw[1], hw[2], 0xff, 0xfe, hw[3], hw[4], hw[5]})
	return netip.AddrFrom16(b)
}
