package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

type routed struct{}

func (routed) attach(ctx context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (_ netlink.Link, err error) {
	var parent netlink.Link
	mtu := defaultMTU
	if n.Parent != "" {
		if parent, err = hostLink(host, n.Parent); err != nil {
			return nil, err
		}
		mtu = parent.Attrs().MTU
		if err := errors.Join(checkForwarding(n), probe(ctx, host, parent, n)); err != nil {
			return nil, err
		}
	}
	veth, err := addVeth(host, n, mtu, 0, ns)
	if err != nil {
		return nil, err
	}
	n.HostName = veth.Name
	defer func() {
		if err != nil {
			err = errors.Join(err, routed{}.detach(n, ns))
		}
	}()
	if err := routedSysctls(n); err != nil {
		return nil, err
	}
	if err := host.LinkSetUp(veth); err != nil { // the kernel takes no routes for a link that is down
		return nil, fmt.Errorf("cannot bring up %s: %w", veth.Name, err)
	}
	for _, a := range []netip.Addr{n.Host4, n.Host6} {
		if a.IsValid() {
			if err := addAddress(host, veth, netip.PrefixFrom(a, a.BitLen())); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range n.Addresses {
		p := netip.PrefixFrom(a, a.BitLen())
		if err := checkUnrouted(host, veth, p); err != nil {
			return nil, err
		}
		for _, table := range n.tables(a) {
			if err := addRoute(host, veth, p, table); err != nil {
				return nil, err
			}
		}
		if parent != nil {
			if err := host.NeighSet(proxyEntry(parent, a)); err != nil {
				return nil, fmt.Errorf("cannot have %s answer for %s: %w", n.Parent, a, err)
			}
		}
	}
	return finishPair(host, guest, n, veth)
}

// tables are the routing tables with a route to an address; 0 is the main one.
func (n NIC) tables(a netip.Addr) []int {
	other := n.Table4
	if a.Is6() {
		other = n.Table6
	}
	if other == 0 {
		return []int{0}
	}
	return []int{0, other}
}

// proxyEntry has a link answer for an address (man arp, man ip-neighbour, "proxy").
func proxyEntry(link netlink.Link, a netip.Addr) *netlink.Neigh {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	return &netlink.Neigh{LinkIndex: link.Attrs().Index, Family: family, Flags: netlink.NTF_PROXY, IP: a.AsSlice()}
}

// checkUnrouted refuses an address that the host has, or routes to another interface as it
// would to this one.
func checkUnrouted(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	routes, err := dump(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: ipNet(p), Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex == link.Attrs().Index {
			continue
		}
		if r.Type == unix.RTN_LOCAL {
			return fmt.Errorf("%s is the host's own address", p.Addr())
		}
		by := fmt.Sprintf("interface %d", r.LinkIndex)
		if other, err := h.LinkByIndex(r.LinkIndex); err == nil {
			by = other.Attrs().Name
		}
		return fmt.Errorf("the host has a route to %s by %s already", p.Addr(), by)
	}
	return nil
}

// checkForwarding refuses what could not work: the host forwards nothing between the
// parent and the instance. It is the host's administrator who lets it do so, as with
// LXD and Incus.
func checkForwarding(n NIC) error {
	var want []string
	for _, a := range n.Addresses {
		if a.Is4() {
			want = append(want, "net/ipv4/conf/"+n.Parent+"/forwarding")
		} else {
			want = append(want, "net/ipv6/conf/all/forwarding", "net/ipv6/conf/"+n.Parent+"/proxy_ndp")
		}
	}
	for _, key := range want {
		if value, err := os.ReadFile("/proc/sys/" + key); err != nil {
			return fmt.Errorf("cannot read %s: %w", key, err)
		} else if len(value) == 0 || value[0] == '0' {
			return &MissingError{What: "the host's setting " + key + "=1", How: "sysctl -w " + key + "=1"}
		}
	}
	return nil
}

// routedSysctls sets what the host end needs (Documentation/networking/ip-sysctl.rst).
func routedSysctls(n NIC) error {
	settings := [][3]string{{"ipv6", "accept_ra", "0"}, {"ipv6", "autoconf", "0"}, {"ipv6", "accept_dad", "0"}}
	if n.Host4.IsValid() {
		settings = append(settings, [3]string{"ipv4", "forwarding", "1"}, [3]string{"ipv4", "rp_filter", "1"}) // only its own addresses come from it
	}
	if n.Host6.IsValid() {
		settings = append(settings, [3]string{"ipv6", "forwarding", "1"})
	} else {
		settings = [][3]string{{"ipv6", "disable_ipv6", "1"}, settings[len(settings)-2], settings[len(settings)-1]}
	}
	for _, s := range settings {
		if err := setSysctl(s[0], n.HostName, s[1], s[2]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// probeTime is how long is waited for somebody to answer for an address.
const probeTime = 300 * time.Millisecond

// probe refuses addresses for which somebody on the parent's network answers.
func probe(ctx context.Context, h *netlink.Handle, parent netlink.Link, n NIC) error {
	asked := map[netip.Addr]*netlink.Neigh{}
	for _, a := range n.Addresses {
		if a.Is4() && !n.Probe4 || a.Is6() && !n.Probe6 {
			continue
		}
		neigh := proxyEntry(parent, a)
		neigh.Flags, neigh.State = netlink.NTF_USE, netlink.NUD_NONE
		if err := h.NeighSet(neigh); err != nil {
			return fmt.Errorf("cannot ask %s for %s: %w", n.Parent, a, err)
		}
		asked[a] = neigh
	}
	defer func() {
		for _, neigh := range asked {
			_ = h.NeighDel(&netlink.Neigh{LinkIndex: neigh.LinkIndex, Family: neigh.Family, IP: neigh.IP}) // only a cache
		}
	}()
	for end := time.Now().Add(probeTime); len(asked) > 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return err
		}
		list, err := dump(func() ([]netlink.Neigh, error) { return h.NeighList(parent.Attrs().Index, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("cannot list the neighbours on %s: %w", n.Parent, err)
		}
		for _, neigh := range list {
			a, _ := netip.AddrFromSlice(neigh.IP)
			if _, ours := asked[a.Unmap()]; ours && neigh.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE|netlink.NUD_PERMANENT) != 0 {
				return fmt.Errorf("somebody on %s has the address %s already: %s", n.Parent, a, neigh.HardwareAddr)
			}
		}
	}
	return nil
}

// detach removes the pair, with which its addresses and routes go, and what the
// parent answers for. An entry that is there without a pair is an instance's that
// was killed.
func (routed) detach(n NIC, _ *os.File) error {
	errs := []error{removePair(n)}
	if parent, err := netlink.LinkByName(n.Parent); n.Parent != "" && err == nil {
		for _, a := range n.Addresses {
			if err := netlink.NeighDel(proxyEntry(parent, a)); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("cannot have %s no longer answer for %s: %w", n.Parent, a, err))
			}
		}
	}
	return errors.Join(errs...)
}
