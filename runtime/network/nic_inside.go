package network

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeMetric is the metric of the default routes set from outside, which is
// higher for each further interface: the first is preferred. It is higher than
// what an image's own tools use (0 for ip route and DHCP clients, 1024 for
// systemd-networkd and for router advertisements), so that a route which the image
// adds is preferred and never fails with EEXIST.
const routeMetric = 2048

// firstIndex is the index of a namespace's first interface after the loopback.
const firstIndex = 2

// configure brings up the loopback and the interface link, and sets n's addresses
// and routes.
func configure(guest *netlink.Handle, n NIC, link netlink.Link) error {
	lo, err := guest.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find lo inside: %w", err)
	}
	for _, l := range []netlink.Link{lo, link} {
		if err := guest.LinkSetUp(l); err != nil {
			return fmt.Errorf("cannot bring up %s inside: %w", l.Attrs().Name, err)
		}
	}
	for _, p := range n.prefixes() {
		if err := addAddress(guest, link, p); err != nil {
			return err
		}
	}
	for _, gateway := range []netip.Addr{n.Gateway4, n.Gateway6} {
		if !gateway.IsValid() {
			continue
		}
		if n.Kind == Routed { // it is in no subnet of the interface's
			if err := addRoute(guest, link, netip.PrefixFrom(gateway, gateway.BitLen()), 0); err != nil {
				return err
			}
		}
		if err := addDefaultRoute(guest, link, gateway); err != nil {
			return err
		}
	}
	return nil
}

// prefixes are the addresses to be set inside.
func (n NIC) prefixes() (out []netip.Prefix) {
	for _, p := range []netip.Prefix{n.IPv4, n.IPv6} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	for _, a := range n.Addresses {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// addAddress sets an address on a link, without duplicate address detection.
func addAddress(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is4() {
		addr.Broadcast = broadcast(p).AsSlice()
	} else {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("cannot set %s on %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

func addDefaultRoute(h *netlink.Handle, link netlink.Link, via netip.Addr) error {
	if err := h.RouteReplace(defaultRoute(link, via)); err != nil {
		return fmt.Errorf("cannot set the default route via %s: %w", via, err)
	}
	return nil
}

func defaultRoute(link netlink.Link, via netip.Addr) *netlink.Route {
	dst := "0.0.0.0/0"
	if via.Is6() {
		dst = "::/0"
	}
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: via.AsSlice(),
		Dst: ipNet(netip.MustParsePrefix(dst)), Priority: routeMetric + link.Attrs().Index - firstIndex,
	}
}

// addRoute has packets to a network leave by a link; table 0 is the main one.
func addRoute(h *netlink.Handle, link netlink.Link, dst netip.Prefix, table int) error {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst), Table: table}
	if dst.Addr().Is4() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	if err := h.RouteAdd(r); err != nil {
		return fmt.Errorf("cannot add a route to %s by %s: %w", dst, link.Attrs().Name, err)
	}
	return nil
}
