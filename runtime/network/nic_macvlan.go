package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

type macvlan struct{}

var macvlanModes = map[string]netlink.MacvlanMode{
	"": netlink.MACVLAN_MODE_BRIDGE, "bridge": netlink.MACVLAN_MODE_BRIDGE, "vepa": netlink.MACVLAN_MODE_VEPA,
	"private": netlink.MACVLAN_MODE_PRIVATE, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
}

// attach makes the interface directly in the instance's namespace: it goes with
// that, and there is never one on the host.
func (macvlan) attach(_ context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (netlink.Link, error) {
	parent, err := hostLink(host, n.Parent)
	if err != nil {
		return nil, err
	}
	hw, err := n.hwAddr()
	if err != nil {
		return nil, err
	}
	mode, ok := macvlanModes[n.Mode]
	if !ok {
		return nil, fmt.Errorf("unknown mode %q", n.Mode)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr, attrs.Namespace = n.Name, parent.Attrs().Index, hw, netlink.NsFd(ns.Fd())
	attrs.MTU = n.MTU
	if mode == netlink.MACVLAN_MODE_PASSTHRU {
		attrs.HardwareAddr = nil // it has the parent's
	}
	if err := host.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: mode}); err != nil {
		switch {
		case errors.Is(err, unix.EBUSY):
			err = fmt.Errorf("%s is on a bridge, or has a macvlan with mode=passthru: %w", n.Parent, err)
		case errors.Is(err, unix.EOPNOTSUPP):
			err = &MissingError{What: "macvlan support of the kernel", How: "modprobe macvlan"}
		}
		return nil, fmt.Errorf("cannot make the macvlan: %w", err)
	}
	inner, err := guest.LinkByName(n.Name)
	if err != nil {
		return nil, fmt.Errorf("cannot find %s inside: %w", n.Name, err)
	}
	return inner, nil
}

func (macvlan) detach(n NIC, ns *os.File) error {
	if ns == nil {
		return nil // gone with it
	}
	guest, err := handleAt(ns)
	if err != nil {
		return err
	}
	defer guest.Close()
	link, err := guest.LinkByName(n.Name)
	if isNotFound(err) || err == nil && link.Type() != "macvlan" {
		return nil // the instance has removed or renamed it
	}
	if err == nil {
		err = guest.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot remove %s inside: %w", n.Name, err)
	}
	return nil
}
