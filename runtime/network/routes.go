package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// syncRoutes adds the routes to the bridge that the network has besides those of
// its addresses, and removes others that were added in this way (protocol static;
// those of instances have another one).
func (b Bridge) syncRoutes(link netlink.Link) error {
	missing := map[netip.Prefix]bool{}
	for _, p := range append(append([]netip.Prefix{}, b.routes4()...), b.routes6()...) {
		missing[p] = true
	}
	have, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_STATIC},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return fmt.Errorf("cannot list the routes of %s: %w", b.Name, err)
	}
	for i := range have {
		p := fromIPNet(have[i].Dst)
		if missing[p] {
			delete(missing, p)
			continue
		}
		if err := netlink.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot remove the route to %s: %w", p, err)
		}
	}
	for p := range missing {
		r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Protocol: unix.RTPROT_STATIC, Scope: netlink.SCOPE_LINK}
		if p.Addr().Is6() {
			r.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := netlink.RouteAdd(r); err != nil {
			return fmt.Errorf("cannot add the route to %s: %w", p, err)
		}
	}
	return nil
}
