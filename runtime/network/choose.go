package network

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
)

// chooseIPv4 is the address that a hardware address is to have: the fixed one, or
// none when the network gives none, or the old one if that is still the network's
// and nobody else's. Else it is the first free one in the ranges, from the one
// with the old one's place in its subnet, or the place that the hardware address
// hashes to. Addresses that dnsmasq still has on lease to a hardware address
// without a reservation are taken only when no other is left, because dnsmasq does
// not offer them to anybody else until the lease ends.
func (b Bridge) chooseIPv4(hwaddr string, fixed, old netip.Addr, others map[string]Reservation) (netip.Addr, error) {
	taken := map[netip.Addr]string{b.IPv4.Addr(): "", b.Gateway4: ""}
	for _, r := range others {
		taken[r.IPv4] = r.Instance
	}
	if fixed.IsValid() {
		return fixed, b.checkFixed(fixed, b.IPv4, taken)
	}
	if !b.IPv4.IsValid() || !b.DHCP4 {
		return netip.Addr{}, nil
	}
	ranges := b.ranges4()
	if _, is := taken[old]; old.IsValid() && !is && inRanges(ranges, old) {
		return old, nil
	}
	leased, err := b.leased(hwaddr)
	if err != nil {
		return netip.Addr{}, err
	}
	var size uint32 // of all ranges, which are of 2^24 addresses at most together
	for _, r := range ranges {
		size += r.size4()
	}
	start := hashOf(hwaddr) % size
	if old.Is4() {
		start = (toUint32(old)&hostMask(b.IPv4) + size - 1) % size
	}
	for _, avoidLeased := range []bool{true, false} {
		for i := range size {
			addr := nth4(ranges, (start+i)%size)
			if _, is := taken[addr]; !is && (!avoidLeased || !leased[addr]) {
				return addr, nil
			}
		}
	}
	if b.Ranges4 != nil {
		return netip.Addr{}, fmt.Errorf("the DHCP ranges of %s: %w", b.IPv4.Masked(), ErrExhausted)
	}
	return netip.Addr{}, fmt.Errorf("%s: %w", b.IPv4.Masked(), ErrExhausted)
}

// chooseIPv6 is chooseIPv4 for IPv6. SLAAC leaves nothing to choose.
func (b Bridge) chooseIPv6(hw net.HardwareAddr, fixed, old netip.Addr, others map[string]Reservation) (netip.Addr, error) {
	taken := map[netip.Addr]string{b.IPv6.Addr(): ""}
	for _, r := range others {
		taken[r.IPv6] = r.Instance
	}
	switch {
	case fixed.IsValid():
		return fixed, b.checkFixed(fixed, b.IPv6, taken)
	case !b.IPv6.IsValid():
		return netip.Addr{}, nil
	case !b.givesIPv6() || b.Ranges6 == nil:
		return eui64(b.IPv6, hw), nil
	}
	if _, is := taken[old]; old.IsValid() && !is && inRanges(b.Ranges6, old) {
		return old, nil
	}
	for i := range b.Ranges6 {
		r := b.Ranges6[(int(hashOf(hw.String()))+i)%len(b.Ranges6)]
		first, size := low64(r.First), low64(r.Last)-low64(r.First) // size: how many more than one
		start := uint64(hashOf(hw.String()))<<32 | uint64(hashOf("low "+hw.String()))
		if size != 1<<64-1 {
			start %= size + 1
		}
		for n := uint64(0); n <= min(size, uint64(len(taken))); n++ { // one of these is free, or all are taken
			at := start + n
			if at > size || at < start {
				at -= size + 1
			}
			addr := withLow64(r.First, first+at)
			if _, is := taken[addr]; !is {
				return addr, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("the DHCP ranges of %s: %w", b.IPv6.Masked(), ErrExhausted)
}

// checkFixed checks an address that the user wants for an instance.
func (b Bridge) checkFixed(a netip.Addr, subnet netip.Prefix, taken map[netip.Addr]string) error {
	owner, is := taken[a]
	switch {
	case !subnet.IsValid():
		return fmt.Errorf("%s cannot be had: the network has no addresses of its family", a)
	case !subnet.Contains(a):
		return fmt.Errorf("%s is not in the subnet %s", a, subnet.Masked())
	case a == subnet.Masked().Addr() || a.Is4() && a == broadcast(subnet):
		return fmt.Errorf("%s is no host's address in the subnet %s", a, subnet.Masked())
	case is && owner == "":
		return fmt.Errorf("%s is the network's own or its gateway's address", a)
	case is:
		return fmt.Errorf("%s is reserved for the instance %s", a, owner)
	}
	return nil
}

// ranges4 are the ranges that IPv4 addresses are taken from.
func (b Bridge) ranges4() []Range {
	if b.Ranges4 != nil {
		return b.Ranges4
	}
	base := toUint32(b.IPv4.Masked().Addr())
	return []Range{{fromUint32(base + 1), fromUint32(base + hostMask(b.IPv4) - 1)}} // without the network's and the broadcast address
}

// givesIPv6 says whether DHCPv6 gives addresses.
func (b Bridge) givesIPv6() bool { return b.IPv6.IsValid() && b.DHCP6 && b.Stateful6 }

// isHost says whether an address is one that an instance can have.
func (b Bridge) isHost(a netip.Addr) bool {
	return b.IPv4.Contains(a) && a != b.IPv4.Masked().Addr() && a != broadcast(b.IPv4)
}

func inRanges(ranges []Range, a netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// nth4 is an address of IPv4 ranges by its place in all of them.
func nth4(ranges []Range, n uint32) netip.Addr {
	for _, r := range ranges {
		if n < r.size4() {
			return fromUint32(toUint32(r.First) + n)
		}
		n -= r.size4()
	}
	return netip.Addr{}
}

func hashOf(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum32()
}

func low64(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

func withLow64(a netip.Addr, low uint64) netip.Addr {
	b := a.As16()
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}
