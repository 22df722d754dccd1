package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one network interface of an instance, with Incus's fields
// (api.InstanceStateNetwork).
type Interface struct {
	Name string `json:"name" yaml:"name"`
	// HostName is the host end's name when the interface is a veth of which the
	// other end is on the host.
	HostName string `json:"host_name" yaml:"host_name"`
	HWAddr   string `json:"hwaddr" yaml:"hwaddr"`
	// State is "up" or "down".
	State string `json:"state" yaml:"state"`
	// Type is "broadcast", "loopback", "point-to-point" or "unknown".
	Type string `json:"type" yaml:"type"`
	// MTU in bytes.
	MTU       int       `json:"mtu" yaml:"mtu"`
	Addresses []Address `json:"addresses" yaml:"addresses"`
	Counters  Counters  `json:"counters" yaml:"counters"`
}

// Address is one address of an interface.
type Address struct {
	Family  string `json:"family" yaml:"family"` // "inet" or "inet6"
	Address string `json:"address" yaml:"address"`
	Netmask string `json:"netmask" yaml:"netmask"` // length of the prefix, decimal
	Scope   string `json:"scope" yaml:"scope"`     // "global", "link" or "local"
}

// Counters are an interface's, since it was made, seen from the side it is on.
type Counters struct {
	BytesReceived          uint64 `json:"bytes_received" yaml:"bytes_received"`
	BytesSent              uint64 `json:"bytes_sent" yaml:"bytes_sent"`
	PacketsReceived        uint64 `json:"packets_received" yaml:"packets_received"`
	PacketsSent            uint64 `json:"packets_sent" yaml:"packets_sent"`
	ErrorsReceived         uint64 `json:"errors_received" yaml:"errors_received"`
	ErrorsSent             uint64 `json:"errors_sent" yaml:"errors_sent"`
	PacketsDroppedInbound  uint64 `json:"packets_dropped_inbound" yaml:"packets_dropped_inbound"`
	PacketsDroppedOutbound uint64 `json:"packets_dropped_outbound" yaml:"packets_dropped_outbound"`
}

// Interfaces lists the interfaces, the loopback included, of the network
// namespace of the process initPID.
func Interfaces(initPID int) ([]Interface, error) {
	list, err := interfaces(initPID)
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces of process %d: %w", initPID, err)
	}
	return list, nil
}

func interfaces(initPID int) ([]Interface, error) {
	ns, err := openNetNS(initPID)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	guest, err := handleAt(ns)
	if err != nil {
		return nil, err
	}
	defer guest.Close()
	links, err := dump(guest.LinkList)
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return guest.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	byIndex := map[int][]Address{}
	for _, a := range addrs {
		if p := fromIPNet(a.IPNet); p.IsValid() {
			byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], newAddress(p))
		}
	}
	hostNames, err := hostEnds(ns, links)
	if err != nil {
		return nil, err
	}
	list := make([]Interface, 0, len(links))
	for _, l := range links {
		i := newInterface(l, byIndex[l.Attrs().Index])
		i.HostName = hostNames[l.Attrs().Index]
		list = append(list, i)
	}
	return list, nil
}

func newInterface(l netlink.Link, addrs []Address) Interface {
	a := l.Attrs()
	i := Interface{
		Name: a.Name, HWAddr: a.HardwareAddr.String(), MTU: a.MTU,
		State: "down", Type: linkType(a.Flags), Addresses: addrs,
	}
	if i.Addresses == nil {
		i.Addresses = []Address{}
	}
	if a.Flags&net.FlagUp != 0 {
		i.State = "up"
	}
	if i.HWAddr == "00:00:00:00:00:00" {
		i.HWAddr = ""
	}
	if s := a.Statistics; s != nil {
		i.Counters = Counters{
			BytesReceived: s.RxBytes, BytesSent: s.TxBytes,
			PacketsReceived: s.RxPackets, PacketsSent: s.TxPackets,
			ErrorsReceived: s.RxErrors, ErrorsSent: s.TxErrors,
			PacketsDroppedInbound: s.RxDropped, PacketsDroppedOutbound: s.TxDropped,
		}
	}
	return i
}

func linkType(f net.Flags) string {
	switch {
	case f&net.FlagLoopback != 0:
		return "loopback"
	case f&net.FlagPointToPoint != 0:
		return "point-to-point"
	case f&net.FlagBroadcast != 0:
		return "broadcast"
	}
	return "unknown"
}

func newAddress(p netip.Prefix) Address {
	a := Address{Family: "inet", Address: p.Addr().String(), Netmask: strconv.Itoa(p.Bits()), Scope: "global"}
	if p.Addr().Is6() {
		a.Family = "inet6"
	}
	switch {
	case p.Addr().IsLoopback():
		a.Scope = "local"
	case p.Addr().IsLinkLocalUnicast():
		a.Scope = "link"
	}
	return a
}

// hostEnds maps the index of each veth among the inner links to the name of its
// other end, when that is in the calling process's network namespace. IFLA_LINK
// is only an index, which could also mean a link of some third namespace: the
// host's link counts only when it points back, into this very namespace.
func hostEnds(ns *os.File, links []netlink.Link) (map[int]string, error) {
	host, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer host.Close()
	nsid, err := host.GetNetNsIdByFd(int(ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("cannot find the network namespace's id: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if l.Type() != "veth" || nsid < 0 {
			continue
		}
		peer, err := host.LinkByIndex(l.Attrs().ParentIndex)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot find the host end of %s: %w", l.Attrs().Name, err)
		}
		if a := peer.Attrs(); peer.Type() == "veth" && a.ParentIndex == l.Attrs().Index && a.NetNsID == nsid {
			names[l.Attrs().Index] = a.Name
		}
	}
	return names, nil
}
