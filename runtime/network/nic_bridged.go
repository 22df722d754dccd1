package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"poolctl/runtime/network/firewall"
)

type bridged struct{}

func (bridged) attach(_ context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (_ netlink.Link, err error) {
	br, err := host.LinkByName(n.Bridge)
	if err != nil {
		return nil, fmt.Errorf("cannot find the bridge (is the network up?): %w", err)
	}
	if br.Type() != "bridge" {
		return nil, fmt.Errorf("%s is not a bridge but a %s link", n.Bridge, br.Type())
	}
	veth, err := addVeth(host, n, br.Attrs().MTU, br.Attrs().Index, ns)
	if err != nil {
		return nil, err
	}
	n.HostName = veth.Name
	defer func() {
		if err != nil {
			err = errors.Join(err, bridged{}.detach(n, ns))
		}
	}()
	if err := withoutIPv6(veth.Name); err != nil {
		return nil, err
	}
	if n.PortIsolation {
		if err := isolate(host, veth, true); err != nil {
			return nil, err
		}
	}
	if n.Hairpin {
		if err := firewall.Hairpin(veth.Name); err != nil {
			return nil, err
		}
	}
	return finishPair(host, guest, n, veth)
}

func (bridged) detach(n NIC, _ *os.File) error {
	return removePair(n)
}

// isolate sets whether a port of a bridge reaches others that are isolated too (man
// bridge, "isolated").
func isolate(h *netlink.Handle, link netlink.Link, on bool) error {
	if err := h.LinkSetIsolated(link, on); err != nil {
		return fmt.Errorf("cannot isolate %s from other ports: %w", link.Attrs().Name, err)
	}
	return nil
}

// finishPair limits and filters the host end of a pair, brings it up, adds the routes to it, and
// finds the inner end.
func finishPair(host, guest *netlink.Handle, n NIC, veth netlink.Link) (netlink.Link, error) {
	if n.Ingress > 0 {
		if err := shape(host, veth, n.Ingress); err != nil {
			return nil, err
		}
	}
	if n.ruled() {
		if err := n.applyRules(); err != nil {
			return nil, err
		}
	}
	if err := host.LinkSetUp(veth); err != nil {
		return nil, fmt.Errorf("cannot bring up %s: %w", veth.Attrs().Name, err)
	}
	if len(n.Routes) > 0 {
		by, err := routeLink(host, n)
		if err != nil {
			return nil, err
		}
		if err := changeRoutes(host, by, n, nil, n.Routes); err != nil {
			return nil, err
		}
	}
	inner, err := guest.LinkByName(n.Name)
	if err != nil {
		return nil, fmt.Errorf("cannot find %s inside: %w", n.Name, err)
	}
	return inner, nil
}
