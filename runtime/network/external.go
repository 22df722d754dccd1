package network

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// checkExternal refuses interfaces of the host's that cannot be ports of the bridge, or
// that are in use: with a port's addresses the host would be reached no more. link is the
// bridge if there is one; what is on it already is taken.
func (b Bridge) checkExternal(link netlink.Link) error {
	for _, name := range b.External {
		l, err := hostLink(&netlink.Handle{}, name)
		if err != nil {
			return err
		}
		a := l.Attrs()
		switch {
		case link != nil && a.MasterIndex == link.Attrs().Index:
			continue
		case a.Flags&net.FlagLoopback != 0 || l.Type() == "bridge":
			return fmt.Errorf("%s cannot be on a bridge", name)
		case a.MasterIndex != 0:
			return fmt.Errorf("%s belongs to another interface (ip link show %s)", name, name)
		}
		addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		if err != nil {
			return fmt.Errorf("cannot list the addresses of %s: %w", name, err)
		}
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				return &configuredError{name, addr.IPNet.String()}
			}
		}
	}
	return nil
}

// configuredError says that an interface has an address of the host's.
type configuredError struct{ name, addr string }

func (e *configuredError) Error() string {
	return fmt.Sprintf("%s has the address %s: an interface that is in use cannot be on the bridge", e.name, e.addr)
}

// Hint tells the user what to do.
func (e *configuredError) Hint() string { return "ip address delete " + e.addr + " dev " + e.name }

// joinExternal puts the host's interfaces on the bridge. One that is not there is left
// out, as one that another bridge has by now: the network works without it.
func (b Bridge) joinExternal(link netlink.Link) error {
	for _, name := range b.External {
		l, err := netlink.LinkByName(name)
		if isNotFound(err) {
			continue
		}
		if err == nil && l.Attrs().MasterIndex == 0 {
			err = netlink.LinkSetMaster(l, link)
		}
		if err == nil && l.Attrs().Flags&net.FlagUp == 0 {
			err = netlink.LinkSetUp(l)
		}
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("cannot put %s on the bridge: %w", name, err)
		}
	}
	return nil
}

// ReleaseExternal takes interfaces of the host's from the bridge which were on it by an
// External that now has not.
func (b Bridge) ReleaseExternal(now []string) error {
	link, err := b.link()
	if err != nil || link == nil {
		return err
	}
	var errs []error
	for _, name := range b.External {
		if slices.Contains(now, name) {
			continue
		}
		l, err := netlink.LinkByName(name)
		if err == nil && l.Attrs().MasterIndex == link.Attrs().Index {
			err = netlink.LinkSetNoMaster(l)
		}
		if err != nil && !isNotFound(err) {
			errs = append(errs, fmt.Errorf("cannot take %s from the bridge: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// MissingExternal are those that the host has not.
func (b Bridge) MissingExternal() (names []string) {
	for _, name := range b.External {
		if CheckLink(name) != nil {
			names = append(names, name)
		}
	}
	return names
}
