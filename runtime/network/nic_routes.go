package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeLink is the link by which the host reaches what is behind n: the bridge, or
// the pair's host end.
func routeLink(host *netlink.Handle, n NIC) (netlink.Link, error) {
	name := n.HostName
	if n.Bridge != "" {
		name = n.Bridge
	}
	link, err := host.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("cannot find %s: %w", name, err)
	}
	return link, nil
}

// via is the next hop of the host's routes to what is behind n: on a bridge, the
// instance's address.
func (n NIC) via(p netip.Prefix) netip.Addr {
	own := n.IPv4.Addr()
	if p.Addr().Is6() {
		own = n.IPv6.Addr()
	}
	for _, a := range n.Addresses {
		if !own.IsValid() && a.Is4() == p.Addr().Is4() {
			own = a
		}
	}
	return own
}

// hostRoute is the route to one network behind n. Its protocol is "boot", as Incus's.
func hostRoute(by netlink.Link, n NIC, p netip.Prefix) *netlink.Route {
	r := &netlink.Route{LinkIndex: by.Attrs().Index, Dst: ipNet(p), Protocol: unix.RTPROT_BOOT}
	if via := n.via(p); via.IsValid() {
		r.Gw = via.AsSlice()
	} else if p.Addr().Is4() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	return r
}

// changeRoutes has the host route to the networks now in place of was. On failure
// those of was are there.
func changeRoutes(host *netlink.Handle, by netlink.Link, n NIC, was, now []netip.Prefix) error {
	var added []netip.Prefix
	for _, p := range now {
		if slices.Contains(was, p) {
			continue
		}
		err := host.RouteAdd(hostRoute(by, n, p))
		if errors.Is(err, unix.EEXIST) {
			err = errors.New("the host has another route to it")
		}
		if err != nil {
			return errors.Join(fmt.Errorf("cannot route %s to %s: %w", p, n.Name, err), removeRoutes(host, by, n, added))
		}
		added = append(added, p)
	}
	gone := slices.DeleteFunc(slices.Clone(was), func(p netip.Prefix) bool { return slices.Contains(now, p) })
	return removeRoutes(host, by, n, gone)
}

// removeRoutes takes routes away; that one is not there is no error.
func removeRoutes(host *netlink.Handle, by netlink.Link, n NIC, list []netip.Prefix) error {
	var errs []error
	for _, p := range list {
		if err := host.RouteDel(hostRoute(by, n, p)); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("cannot remove the route to %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}
