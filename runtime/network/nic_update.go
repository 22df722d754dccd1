package network

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SameBut says whether Update can make now of was: they differ in nothing but what
// can change while the interface is there.
func (n NIC) SameBut(now NIC) bool {
	for _, x := range []*NIC{&n, &now} {
		x.MTU, x.Ingress, x.Egress, x.Priority, x.Routes = 0, 0, 0, 0, nil
		x.MACFiltering, x.IPv4Filtering, x.IPv6Filtering, x.PortIsolation = false, false, false, false
		x.Was, x.Hairpin = nil, false // the network sees to it when forwards come and go
	}
	return reflect.DeepEqual(n, now)
}

// Update makes the interface was of the process initPID be now, of which SameBut
// says that it can. On failure it is what it was.
func Update(was, now NIC, initPID int) error {
	err := update(was, now, initPID)
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot change %s: %w", now.Name, err), update(now, was, initPID))
	}
	return err
}

func update(was, now NIC, initPID int) error {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer host.Close()
	if was.MTU != now.MTU {
		if err := updateMTU(host, now, initPID); err != nil {
			return err
		}
	}
	if now.Kind == Macvlan || now.Kind == Physical {
		return nil
	}
	link, err := host.LinkByName(now.HostName)
	if err != nil {
		return fmt.Errorf("cannot find %s: %w", now.HostName, err)
	}
	if was.Ingress != now.Ingress {
		if err := shape(host, link, now.Ingress); err != nil {
			return err
		}
	}
	if was.ruled() || now.ruled() {
		if err := now.applyRules(); err != nil {
			return err
		}
	}
	if was.PortIsolation != now.PortIsolation {
		if err := isolate(host, link, now.PortIsolation); err != nil {
			return err
		}
	}
	if reflect.DeepEqual(was.Routes, now.Routes) {
		return nil
	}
	by, err := routeLink(host, now)
	if err != nil {
		return err
	}
	return changeRoutes(host, by, now, was.Routes, now.Routes)
}

// updateMTU sets the MTU of both ends.
func updateMTU(host *netlink.Handle, n NIC, initPID int) error {
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
	inner, err := guest.LinkByName(n.Name)
	if err != nil {
		return fmt.Errorf("cannot find %s inside: %w", n.Name, err)
	}
	outer, err := n.outerMTU(host)
	if err != nil {
		return err
	}
	mtu := n.MTU
	if mtu == 0 {
		mtu = outer
	}
	if n.HostName != "" {
		link, err := host.LinkByName(n.HostName)
		if err == nil {
			err = host.LinkSetMTU(link, max(mtu, outer))
		}
		if err != nil {
			return fmt.Errorf("cannot set the MTU of %s: %w", n.HostName, err)
		}
	}
	if err := guest.LinkSetMTU(inner, mtu); err != nil {
		return fmt.Errorf("cannot set the MTU of %s inside to %d: %w", n.Name, mtu, err)
	}
	return nil
}

// outerMTU is the MTU of what n is connected to.
func (n NIC) outerMTU(host *netlink.Handle) (int, error) {
	if n.Kind == Physical && n.Was != nil {
		return n.Was.MTU, nil
	}
	name := n.Parent
	if n.Bridge != "" {
		name = n.Bridge
	}
	if name == "" {
		return max(n.MTU, defaultMTU), nil
	}
	link, err := hostLink(host, name)
	if err != nil {
		return 0, err
	}
	return link.Attrs().MTU, nil
}
