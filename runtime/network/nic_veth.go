package network

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"poolctl/runtime/network/firewall"
)

// addVeth makes a veth pair with its inner end directly in the instance's network
// namespace, and returns the host end, which is down. Its MTU is hostMTU, or the
// inner end's if that is larger: so a bridge keeps its own.
func addVeth(host *netlink.Handle, n NIC, hostMTU, master int, ns *os.File) (*netlink.Veth, error) {
	hw, err := n.hwAddr()
	if err != nil {
		return nil, err
	}
	inner := n.MTU
	if inner == 0 {
		inner = hostMTU
	}
	attrs := netlink.NewLinkAttrs()
	attrs.MTU, attrs.MasterIndex = max(hostMTU, inner), master
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: n.Name, PeerHardwareAddr: hw,
		PeerMTU: uint32(inner), PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	return veth, createVeth(host, veth, n.HostName)
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
			err = errors.Join(err, removeVeth(before))
		}
		return err
	}
}

// hwAddr is the inner end's hardware address; nil lets the kernel choose.
func (n NIC) hwAddr() (net.HardwareAddr, error) {
	if n.HWAddr == "" {
		return nil, nil
	}
	return parseHWAddr(n.HWAddr)
}

// withoutIPv6 has a link take no part in IPv6. The host end of what is on a bridge
// is a port only: an address of its own would let the instance reach the host beside
// the bridge.
func withoutIPv6(name string) error {
	if err := setSysctl("ipv6", name, "disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removePair removes a pair and what was made for it.
func removePair(n NIC) error {
	err := removeVeth(n.HostName)
	if n.Bridge != "" && len(n.Routes) > 0 { // the bridge's, which stays
		host := &netlink.Handle{}
		if by, lerr := routeLink(host, n); lerr == nil {
			err = errors.Join(err, removeRoutes(host, by, n, n.Routes))
		}
	}
	if n.ruled() {
		err = errors.Join(err, firewall.Remove(n.HostName))
	}
	return err
}

// removeVeth removes the pair whose host end is hostName. It is not an error when
// there is none. The pair would go with the instance's network namespace too, but
// the kernel takes that down later, in the background.
func removeVeth(hostName string) error {
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
