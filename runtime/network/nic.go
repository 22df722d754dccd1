package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kind is what connects an instance's interface: Incus's nictype.
type Kind string

// The kinds (https://linuxcontainers.org/incus/docs/main/reference/devices_nic/).
const (
	// Bridged is a veth pair with its host end on a bridge; also the empty Kind.
	Bridged Kind = "bridged"
	// P2P is a veth pair with its host end on nothing.
	P2P Kind = "p2p"
	// Macvlan is another hardware address on an interface of the host's.
	Macvlan Kind = "macvlan"
	// Physical is an interface of the host's itself, for as long as the instance
	// runs.
	Physical Kind = "physical"
	// Routed is a veth pair whose addresses the host routes to, and answers for on
	// another interface.
	Routed Kind = "routed"
)

// NIC is one network interface that an instance is to have.
type NIC struct {
	// Device is the name that the configuration has for it ("eth0").
	Device string `json:"device"`
	Kind   Kind   `json:"kind"`
	// Bridge is the host bridge that the host end of a bridged one joins.
	Bridge string `json:"bridge,omitempty"`
	// Parent is the host's interface of a macvlan, physical or routed one; a routed
	// one may have none.
	Parent string `json:"parent,omitempty"`
	// Mode is a macvlan's: bridge (also if empty), vepa, private or passthru.
	Mode string `json:"mode,omitempty"`
	// Name is the interface's name inside ("eth0").
	Name string `json:"name"`
	// HostName is the host end's name ("veth1a2b3c4d") of a veth pair; empty means a
	// random one, see RandomHostName.
	HostName string `json:"host_name,omitempty"`
	// HWAddr is the inner end's hardware address ("00:16:3e:01:02:03"); empty
	// lets the kernel choose one, or a physical one keep its own.
	HWAddr string `json:"hwaddr,omitempty"`
	// MTU in bytes; 0 takes the bridge's or the parent's.
	MTU int `json:"mtu,omitempty"`
	// IPv4 and IPv6 are the addresses with the length of their networks; the
	// zero value sets none.
	IPv4 netip.Prefix `json:"ipv4"`
	IPv6 netip.Prefix `json:"ipv6"`
	// NoIPv4 and NoIPv6 have it without an address of the family, whatever its network
	// gives.
	NoIPv4 bool `json:"no_ipv4,omitempty"`
	NoIPv6 bool `json:"no_ipv6,omitempty"`
	// Addresses are all addresses of a routed one, in place of IPv4 and IPv6.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Gateway4 and Gateway6 are the next hops of the default routes; the zero
	// value sets no route.
	Gateway4 netip.Addr `json:"gateway4"`
	Gateway6 netip.Addr `json:"gateway6"`
	// Host4 and Host6 are the host end's addresses of a routed one.
	Host4 netip.Addr `json:"host4"`
	Host6 netip.Addr `json:"host6"`
	// Table4 and Table6 are routing tables besides the main one that get the routes
	// of a routed one's addresses; 0 for none.
	Table4 int `json:"table4,omitempty"`
	Table6 int `json:"table6,omitempty"`
	// Probe4 and Probe6 have a routed one refused when somebody on the parent's
	// network has one of its addresses.
	Probe4 bool `json:"probe4,omitempty"`
	Probe6 bool `json:"probe6,omitempty"`
	// Routes are networks behind it, which the host is to route to it.
	Routes []netip.Prefix `json:"routes,omitempty"`
	// Ingress and Egress are the most bits in a second to and from the instance; 0
	// for no limit.
	Ingress uint64 `json:"ingress,omitempty"`
	Egress  uint64 `json:"egress,omitempty"`
	// Priority is what the kernel's queues are told of packets from the instance; 0
	// says nothing.
	Priority uint32 `json:"priority,omitempty"`
	// MACFiltering, IPv4Filtering and IPv6Filtering drop what the instance sends
	// from addresses other than HWAddr, IPv4 and IPv6.
	MACFiltering  bool `json:"mac_filtering,omitempty"`
	IPv4Filtering bool `json:"ipv4_filtering,omitempty"`
	IPv6Filtering bool `json:"ipv6_filtering,omitempty"`
	// PortIsolation keeps a bridged one from others on the bridge that have it too.
	PortIsolation bool `json:"port_isolation,omitempty"`
	// Hairpin lets a bridged one reach itself by what is published of it, where that
	// needs it (firewall.Hairpin).
	Hairpin bool `json:"hairpin,omitempty"`
	// Was is how a physical one was on the host. It is noted before it is moved.
	Was *HostSettings `json:"was,omitempty"`
}

// validate checks the names and addresses that come from a configuration.
func (n NIC) validate() error {
	for _, name := range []string{n.Name, n.HostName, n.Bridge, n.Parent} {
		if name == "" {
			continue
		}
		if err := ValidateName(name); err != nil {
			return err
		}
	}
	if n.Name == "" {
		return errors.New("the interface has no name")
	}
	if n.Name == "lo" {
		return errors.New(`invalid interface name "lo": it is the loopback's`)
	}
	if n.IPv4.IsValid() && !n.IPv4.Addr().Is4() {
		return fmt.Errorf("invalid IPv4 address %s", n.IPv4)
	}
	if n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Addr().Is4In6()) {
		return fmt.Errorf("invalid IPv6 address %s", n.IPv6)
	}
	_, err := n.hwAddr()
	return err
}

// attacher makes and removes one kind of interface.
type attacher interface {
	// attach makes it, in the network namespace ns; configure does the rest. On
	// failure nothing is left.
	attach(ctx context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (inner netlink.Link, err error)
	// detach removes what attach has made, as far as it is there; ns is nil when
	// the namespace is gone.
	detach(n NIC, ns *os.File) error
}

var attachers = map[Kind]attacher{"": bridged{}, Bridged: bridged{}, P2P: p2p{}, Macvlan: macvlan{}, Physical: physical{}, Routed: routed{}}

func (n NIC) attacher() (attacher, error) {
	a, ok := attachers[n.Kind]
	if !ok {
		return nil, fmt.Errorf("unknown kind %q", n.Kind)
	}
	return a, nil
}

// place names what n is connected to, for messages.
func (n NIC) place() string {
	switch {
	case n.Bridge != "":
		return n.Bridge
	case n.Parent != "":
		return n.Parent
	}
	return "the host"
}

// Prepare completes n before Attach: the host end has a name, and how a physical one is on
// the host is noted. The caller keeps the result for Detach, before it calls
// Attach.
func Prepare(n NIC) (NIC, error) {
	if n.HostName == "" && n.Kind != Macvlan && n.Kind != Physical {
		n.HostName = RandomHostName()
	}
	if n.Kind == Physical && n.Was == nil {
		was, err := hostSettings(n.Parent)
		if err != nil {
			return n, fmt.Errorf("cannot attach %s to %s: %w", n.Name, n.place(), err)
		}
		n.Was = was
	}
	return n, nil
}

// Attach gives the network namespace of the process initPID the interface n, which
// Prepare has completed, and sets its addresses and default routes inside (the
// loopback is brought up too). IPv6 addresses are usable at once: duplicate address
// detection is left out, the address being reserved. On failure nothing is left.
func Attach(ctx context.Context, n NIC, initPID int) error {
	if err := attach(ctx, n, initPID); err != nil {
		return fmt.Errorf("cannot attach %s to %s: %w", n.Name, n.place(), err)
	}
	return nil
}

func attach(ctx context.Context, n NIC, initPID int) (err error) {
	if err := n.validate(); err != nil {
		return err
	}
	kind, err := n.attacher()
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
	guest, err := handleAt(ns)
	if err != nil {
		return err
	}
	defer guest.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	inner, err := kind.attach(ctx, host, guest, n, ns)
	if err != nil {
		return err
	}
	if err = configure(guest, n, inner); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = errors.Join(err, Detach(n, ns))
	}
	return err
}

// Detach takes away what Attach has made of n, as far as it is there; ns is the
// instance's network namespace, nil when that is gone. The host gets back a
// physical one, with its name, hardware address and MTU.
func Detach(n NIC, ns *os.File) error {
	kind, err := n.attacher()
	if err == nil {
		err = kind.detach(n, ns)
	}
	if err != nil {
		return fmt.Errorf("cannot detach %s from %s: %w", n.Name, n.place(), err)
	}
	return nil
}

// DetachFrom is Detach of an interface in the network namespace of a process.
func DetachFrom(n NIC, initPID int) error {
	ns, err := openNetNS(initPID)
	if err != nil {
		return err
	}
	return errors.Join(Detach(n, ns), ns.Close())
}
