package network

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// HostLink is a network interface of the host.
type HostLink struct {
	Name string
	// Type is lxc's word for it: bridge, vlan, bond, loopback, physical or unknown.
	Type string
}

// HostLinks lists the host's interfaces, but for the host ends of instances'
// veth pairs.
func HostLinks() ([]HostLink, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list the host's interfaces: %w", err)
	}
	var out []HostLink
	for _, l := range links {
		if l.Type() != "veth" {
			out = append(out, HostLink{Name: l.Attrs().Name, Type: hostLinkType(l)})
		}
	}
	return out, nil
}

// hostLinkType is what `lxc network list` calls a link of the host.
func hostLinkType(l netlink.Link) string {
	switch kind := l.Type(); {
	case l.Attrs().Flags&net.FlagLoopback != 0:
		return "loopback"
	case kind == "bridge", kind == "vlan", kind == "bond":
		return kind
	case kind == "device":
		return "physical"
	}
	return "unknown"
}
