package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NIC is one network interface that an instance is to have: a veth pair, one
// end on a bridge of the host, the other in the instance's network namespace.
type NIC struct {
	// Bridge is the host bridge that the host end joins.
	Bridge string `json:"bridge"`
	// Name is the interface's name inside ("eth0").
	Name string `json:"name"`
	// HostName is the host end's name ("veth1a2b3c4d"); empty means a random
	// one, see RandomHostName.
	HostName string `json:"host_name"`
	// HWAddr is the inner end's hardware address ("00:16:3e:01:02:03"); empty
	// lets the kernel choose one.
	HWAddr string `json:"hwaddr"`
	// MTU in bytes; 0 takes the bridge's.
	MTU int `json:"mtu,omitempty"`
	// IPv4 and IPv6 are the addresses with the length of their networks; the
	// zero value sets none.
	IPv4 netip.Prefix `json:"ipv4"`
	IPv6 netip.Prefix `json:"ipv6"`
	// Gateway4 and Gateway6 are the next hops of the default routes; the zero
	// value sets no route.
	Gateway4 netip.Addr `json:"gateway4"`
	Gateway6 netip.Addr `json:"gateway6"`
}

// routeMetric is the metric of the default routes set from outside. It is
// higher than what an image's own tools use (0 for ip route and DHCP clients,
// 1024 for systemd-networkd and for router advertisements), so that a route
// which the image adds is preferred and never fails with EEXIST.
const routeMetric = 2048

// validate checks the names and addresses that come from a configuration.
func (n NIC) validate() (net.HardwareAddr, error) {
	if err := ValidateName(n.Bridge); err != nil {
		return nil, err
	}
	if err := ValidateName(n.Name); err != nil {
		return nil, err
	}
	if n.Name == "lo" {
		return nil, errors.New(`invalid interface name "lo": it is the loopback's`)
	}
	if n.IPv4.IsValid() && !n.IPv4.Addr().Is4() {
		return nil, fmt.Errorf("invalid IPv4 address %s", n.IPv4)
	}
	if n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Addr().Is4In6()) {
		return nil, fmt.Errorf("invalid IPv6 address %s", n.IPv6)
	}
	if n.HWAddr == "" {
		return nil, nil
	}
	return parseHWAddr(n.HWAddr)
}

// Attach makes the veth pair of n with its inner end directly in the network
// namespace of the process initPID, joins the host end to the bridge, and sets
// addresses and default routes inside (the loopback is brought up too). IPv6
// addresses are usable at once: duplicate address detection is left out, the
// address being reserved. On failure the pair is removed.
func Attach(ctx context.Context, n NIC, initPID int) error {
	if err := attach(ctx, n, initPID); err != nil {
		return fmt.Errorf("cannot attach %s to %s: %w", n.Name, n.Bridge, err)
	}
	return nil
}

func attach(ctx context.Context, n NIC, initPID int) (err error) {
	hw, err := n.validate()
	if err != nil {
		return err
	}
	ns, err := openNetNS(initPID)
	if err != nil {
		return err
	}
	defer ns.Close()
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer host.Close()

	name, err := addVeth(host, n, hw, ns)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Detach(name))
		}
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	guest, err := handleAt(ns)
	if err != nil {
		return err
	}
	defer guest.Close()
	if err := configure(guest, n); err != nil {
		return err
	}
	return ctx.Err()
}

// addVeth makes the pair and returns the host end's name, up and on the bridge.
func addVeth(host *netlink.Handle, n NIC, hw net.HardwareAddr, ns *os.File) (_ string, err error) {
	br, err := host.LinkByName(n.Bridge)
	if err != nil {
		return "", fmt.Errorf("cannot find the bridge (is the network up?): %w", err)
	}
	if br.Type() != "bridge" {
		return "", fmt.Errorf("%s is not a bridge but a %s link", n.Bridge, br.Type())
	}
	attrs := netlink.NewLinkAttrs()
	attrs.MTU = n.MTU
	if attrs.MTU == 0 {
		attrs.MTU = br.Attrs().MTU
	}
	attrs.MasterIndex = br.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: n.Name, PeerHardwareAddr: hw,
		PeerMTU: uint32(attrs.MTU), PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	if err := createVeth(host, veth, n.HostName); err != nil {
		return "", err
	}
	name := veth.Name
	defer func() {
		if err != nil {
			err = errors.Join(err, Detach(name))
		}
	}()
	// The host end is a bridge port only: an address of its own would let the
	// instance reach the host beside the bridge.
	if err := setSysctl("ipv6", name, "disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := host.LinkSetUp(veth); err != nil {
		return "", fmt.Errorf("cannot bring up %s: %w", name, err)
	}
	return name, nil
}

// createVeth adds the link under the wanted name, or under random ones until
// one is free.
func createVeth(host *netlink.Handle, veth *netlink.Veth, want string) error {
	const tries = 10
	for i := 0; ; i++ {
		veth.Name = want
		if want == "" {
			veth.Name = RandomHostName()
		} else if err := ValidateName(want); err != nil {
			return err
		}
		before := veth.Name
		err := host.LinkAdd(veth)
		if err == nil {
			return nil
		}
		// EEXIST can mean either end's name; only the host end's can be changed.
		_, lookErr := host.LinkByName(before)
		if errors.Is(err, unix.EEXIST) && lookErr == nil && want == "" && i < tries {
			continue
		}
		err = fmt.Errorf("cannot make the veth pair %s, %s: %w", before, veth.PeerName, err)
		// LinkAdd joins the bridge in a second request: without it the link is there.
		if !errors.Is(err, unix.EEXIST) && lookErr == nil {
			err = errors.Join(err, Detach(before))
		}
		return err
	}
}

// configure brings up the loopback and n's inner end, and sets the addresses
// and routes.
func configure(guest *netlink.Handle, n NIC) error {
	lo, err := guest.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("cannot find lo inside: %w", err)
	}
	if err := guest.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot bring up lo inside: %w", err)
	}
	link, err := guest.LinkByName(n.Name)
	if err != nil {
		return fmt.Errorf("cannot find %s inside: %w", n.Name, err)
	}
	if err := guest.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring up %s inside: %w", n.Name, err)
	}
	for _, a := range []struct {
		prefix  netip.Prefix
		gateway netip.Addr
	}{{n.IPv4, n.Gateway4}, {n.IPv6, n.Gateway6}} {
		if a.prefix.IsValid() {
			if err := addAddress(guest, link, a.prefix); err != nil {
				return err
			}
		}
		if a.gateway.IsValid() {
			if err := addDefaultRoute(guest, link, a.gateway); err != nil {
				return err
			}
		}
	}
	return nil
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
	dst := "0.0.0.0/0"
	if via.Is6() {
		dst = "::/0"
	}
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: via.AsSlice(),
		Dst: ipNet(netip.MustParsePrefix(dst)), Priority: routeMetric,
	}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("cannot set the default route via %s: %w", via, err)
	}
	return nil
}

// Detach removes the veth pair whose host end is hostName. It is not an error
// when there is none. The pair would go with the instance's network namespace
// too, but the kernel takes that down later, in the background.
func Detach(hostName string) error {
	link, err := netlink.LinkByName(hostName)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot detach %s: %w", hostName, err)
	}
	if link.Type() != "veth" {
		return fmt.Errorf("cannot detach %s: it is a %s link, not a veth", hostName, link.Type())
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot detach %s: %w", hostName, err)
	}
	return nil
}
