package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Place is where an interface is on a network: its addresses with the length of
// their networks, its next hops, and the network's MTU.
type Place struct {
	IPv4, IPv6         netip.Prefix
	Gateway4, Gateway6 netip.Addr
	MTU                int
}

// Place is that of a reservation.
func (b Bridge) Place(r Reservation) Place {
	n := b.Plan(NIC{}, r.IPv4, r.IPv6)
	return Place{n.IPv4, n.IPv6, n.Gateway4, n.Gateway6, b.mtu()}
}

// Moved is the interface at another place. What its device says otherwise stays.
func (n NIC) Moved(to Place) NIC {
	to = n.Own(to)
	n.IPv4, n.IPv6, n.Gateway4, n.Gateway6 = to.IPv4, to.IPv6, to.Gateway4, to.Gateway6
	return n
}

// Own is what of a place counts for n: without an address of a family that it is not
// to have, and with the MTU 0 if it has one of its own.
func (n NIC) Own(p Place) Place {
	if n.NoIPv4 {
		p.IPv4, p.Gateway4 = netip.Prefix{}, netip.Addr{}
	}
	if n.NoIPv6 {
		p.IPv6, p.Gateway6 = netip.Prefix{}, netip.Addr{}
	}
	if n.MTU != 0 {
		p.MTU = 0
	}
	return p
}

// Rule sets the rules of a bridged interface anew, where it has some.
func (n NIC) Rule() error {
	if !n.ruled() {
		return nil
	}
	return n.applyRules()
}

// Readdress moves the interface with a hardware address in the network namespace of
// the process initPID, when its network has changed. What the instance has set
// itself stays: only addresses of the place that it had are replaced, and an MTU
// that was the network's. A part of it, or all, may have been done before. That
// there is no such interface is no error.
func Readdress(initPID int, hwaddr string, from, to Place) error {
	ns, err := openNetNS(initPID)
	if err != nil {
		return err
	}
	defer ns.Close()
	guest, err := handleAt(ns)
	if err != nil {
		return err
	}
	defer guest.Close()
	links, err := dump(guest.LinkList)
	if err != nil {
		return fmt.Errorf("cannot list links: %w", err)
	}
	for _, l := range links {
		if l.Type() != "veth" || l.Attrs().HardwareAddr.String() != hwaddr {
			continue
		}
		if mtu := l.Attrs().MTU; from.MTU != to.MTU && (mtu == from.MTU || mtu == to.MTU) {
			if err := changeMTU(ns.Fd(), guest, l, to.MTU); err != nil {
				return err
			}
		}
		if err := changeAddress(guest, l, from.IPv4, to.IPv4, from.Gateway4, to.Gateway4); err != nil {
			return err
		}
		if err := changeAddress(guest, l, from.IPv6, to.IPv6, from.Gateway6, to.Gateway6); err != nil {
			return err
		}
	}
	return nil
}

// changeMTU sets the MTU of both ends of a pair, the larger one first.
func changeMTU(ns uintptr, guest *netlink.Handle, inner netlink.Link, mtu int) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer host.Close()
	nsid, err := host.GetNetNsIdByFd(int(ns))
	if err != nil {
		return fmt.Errorf("cannot find the network namespace's id: %w", err)
	}
	outer, err := host.LinkByIndex(inner.Attrs().ParentIndex)
	if err == nil && outer.Attrs().ParentIndex == inner.Attrs().Index && outer.Attrs().NetNsID == nsid {
		if err := host.LinkSetMTU(outer, mtu); err != nil {
			return fmt.Errorf("cannot set the MTU of %s to %d: %w", outer.Attrs().Name, mtu, err)
		}
	}
	if err := guest.LinkSetMTU(inner, mtu); err != nil {
		return fmt.Errorf("cannot set the MTU of %s inside to %d: %w", inner.Attrs().Name, mtu, err)
	}
	return nil
}

// changeAddress replaces an address and the next hop that was set from outside.
func changeAddress(guest *netlink.Handle, link netlink.Link, from, to netip.Prefix, fromGateway, toGateway netip.Addr) error {
	if from == to && fromGateway == toGateway {
		return nil
	}
	if fromGateway.IsValid() {
		err := guest.RouteDel(defaultRoute(link, fromGateway))
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot remove the default route via %s: %w", fromGateway, err)
		}
	}
	if from.IsValid() && from != to {
		err := guest.AddrDel(link, &netlink.Addr{IPNet: ipNet(from)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("cannot remove %s: %w", from, err)
		}
	}
	if to.IsValid() {
		if err := addAddress(guest, link, to); err != nil {
			return err
		}
	}
	if toGateway.IsValid() {
		return addDefaultRoute(guest, link, toGateway)
	}
	return nil
}
