package network

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// State is what the kernel says of a network now.
type State struct {
	// Up says whether the bridge is there and up.
	Up        bool      `json:"up" yaml:"up"`
	HWAddr    string    `json:"hwaddr" yaml:"hwaddr"`
	MTU       int       `json:"mtu" yaml:"mtu"`
	Addresses []Address `json:"addresses" yaml:"addresses"`
	Counters  Counters  `json:"counters" yaml:"counters"`
	// Ports are the names of the interfaces on the bridge, sorted.
	Ports []string `json:"ports" yaml:"ports"`
	// DnsmasqPID is dnsmasq's process id; 0 when it does not run.
	DnsmasqPID int `json:"dnsmasq_pid" yaml:"dnsmasq_pid"`
}

// State reports the live state of the network. When there is no bridge, Up is
// false and most fields are empty; *ForeignError when the name is another's.
func (b Bridge) State() (State, error) {
	s, err := b.state()
	if err != nil {
		return State{}, fmt.Errorf("cannot read the state of network %s: %w", b.Name, err)
	}
	return s, nil
}

// IsUp says whether the network's bridge is there and up; another's of that name
// is not.
func (b Bridge) IsUp() (bool, error) {
	link, err := b.link()
	var foreign *ForeignError
	if link == nil || errors.As(err, &foreign) {
		return false, nil
	}
	return link.Attrs().Flags&net.FlagUp != 0, err
}

func (b Bridge) state() (State, error) {
	if err := b.Validate(); err != nil {
		return State{}, err
	}
	var s State
	p, err := b.findDnsmasq()
	if err != nil {
		return State{}, err
	}
	if p != nil {
		s.DnsmasqPID = p.pid
		p.Close()
	}
	link, err := b.link()
	if err != nil || link == nil {
		return s, err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return State{}, fmt.Errorf("cannot list addresses: %w", err)
	}
	for _, a := range addrs {
		if p := fromIPNet(a.IPNet); p.IsValid() {
			s.Addresses = append(s.Addresses, newAddress(p))
		}
	}
	if s.Ports, err = portsOf(link); err != nil {
		return State{}, err
	}
	i := newInterface(link, s.Addresses)
	s.Up, s.HWAddr, s.MTU, s.Counters = link.Attrs().Flags&net.FlagUp != 0, i.HWAddr, i.MTU, i.Counters
	return s, nil
}

// portsOf lists the names of the interfaces on a bridge, sorted.
func portsOf(bridge netlink.Link) ([]string, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	var ports []string
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			ports = append(ports, l.Attrs().Name)
		}
	}
	slices.Sort(ports)
	return ports, nil
}
