package network

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OverlapError says that a network's subnet is in use on the host.
type OverlapError struct {
	Subnet netip.Prefix // the network's
	Other  netip.Prefix // the route or address that it overlaps
	Link   string       // the interface which that is on; may be empty
}

func (e *OverlapError) Error() string {
	on := ""
	if e.Link != "" {
		on = " on " + e.Link
	}
	return fmt.Sprintf("the subnet %s overlaps %s%s", e.Subnet.Masked(), e.Other, on)
}

// Hint tells the user what to do.
func (e *OverlapError) Hint() string { return "choose another address for the network, or auto" }

// used is a subnet that the host knows.
type used struct {
	prefix netip.Prefix
	link   int
}

// usedSubnets lists the subnets of the host's addresses and of its routes in
// all tables, without default routes and the link-local and multicast ranges,
// which every link has.
func usedSubnets() ([]used, error) {
	var list []used
	add := func(p netip.Prefix, link int) {
		if p.IsValid() && p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			list = append(list, used{p.Masked(), link})
		}
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		add(fromIPNet(a.IPNet), a.LinkIndex)
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		if r.Type == unix.RTN_UNICAST {
			add(fromIPNet(r.Dst), r.LinkIndex)
		}
	}
	return list, nil
}

// checkSubnets refuses subnets that overlap something of the host which is not
// on the network's own link (nil: there is none yet).
func (b Bridge) checkSubnets(link netlink.Link) error {
	list, err := usedSubnets()
	if err != nil {
		return err
	}
	for _, p := range b.Subnets() {
		for _, u := range list {
			if !p.Overlaps(u.prefix) || link != nil && u.link == link.Attrs().Index {
				continue
			}
			e := &OverlapError{Subnet: p, Other: u.prefix}
			if other, err := netlink.LinkByIndex(u.link); err == nil {
				e.Link = other.Attrs().Name
			}
			return e
		}
	}
	return nil
}

// RandomSubnets chooses both a RandomIPv4 and a RandomIPv6.
func RandomSubnets(avoid ...netip.Prefix) (v4, v6 netip.Prefix, err error) {
	if v4, err = RandomIPv4(avoid...); err == nil {
		v6, err = RandomIPv6(avoid...)
	}
	return v4, v6, err
}

// RandomIPv4 chooses an IPv4 network 10.x.y.1/24 (or, where the host routes all of
// 10.0.0.0/8, 172.16-31.y.1/24 or 192.168.y.1/24), as LXD and Incus do, that does
// not overlap any address or route of the host, nor what is to be avoided.
func RandomIPv4(avoid ...netip.Prefix) (netip.Prefix, error) {
	p, ok, err := random(avoid, random4)
	if err == nil && !ok {
		err = errors.New("the host uses or routes all private IPv4 networks")
	}
	if err != nil {
		return p, fmt.Errorf("cannot choose a subnet: %w", err)
	}
	return p, nil
}

// RandomIPv6 chooses an IPv6 network fd42:x:y:z::1/64 (RFC 4193) in the same way.
// It is the zero Prefix when the kernel has no IPv6.
func RandomIPv6(avoid ...netip.Prefix) (netip.Prefix, error) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); errors.Is(err, os.ErrNotExist) {
		return netip.Prefix{}, nil
	}
	p, ok, err := random(avoid, random6)
	if err == nil && !ok {
		err = errors.New("the host uses or routes all of fd42::/16")
	}
	if err != nil {
		return p, fmt.Errorf("cannot choose a subnet: %w", err)
	}
	return p, nil
}

// random picks a free subnet.
func random(avoid []netip.Prefix, one func(try int) netip.Prefix) (netip.Prefix, bool, error) {
	list, err := usedSubnets()
	if err != nil {
		return netip.Prefix{}, false, err
	}
	for _, p := range avoid {
		list = append(list, used{prefix: p.Masked()})
	}
	p, ok := pickFree(list, one)
	return p, ok, nil
}

// subnetTries is how many random subnets of each private range are tried.
const subnetTries = 100

func pickFree(list []used, random func(try int) netip.Prefix) (netip.Prefix, bool) {
	for try := range 3 * subnetTries {
		p := random(try)
		free := true
		for _, u := range list {
			free = free && !p.Overlaps(u.prefix)
		}
		if free {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func random4(try int) netip.Prefix {
	var r [2]byte
	_, _ = rand.Read(r[:])
	addr := [4]byte{10, r[0], r[1], 1}
	switch {
	case try >= 2*subnetTries:
		addr = [4]byte{192, 168, r[1], 1}
	case try >= subnetTries:
		addr = [4]byte{172, 16 | r[0]&15, r[1], 1}
	}
	return netip.PrefixFrom(netip.AddrFrom4(addr), 24)
}

func random6(int) netip.Prefix {
	addr := [16]byte{0: 0xfd, 1: 0x42, 15: 1}
	_, _ = rand.Read(addr[2:8])
	return netip.PrefixFrom(netip.AddrFrom16(addr), 64)
}
