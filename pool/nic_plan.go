package pool

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

// nics brings up the networks of the instance's nic devices and says what the
// runtime is to plug in.
func (s *System) nics(ctx context.Context, in *lockedInstance) ([]network.NIC, error) {
	for n, dev := range in.rec.ExpandedDevices {
		switch dev["type"] {
		case "nic", "disk", "none", "unix-char", "unix-block", "proxy":
		default:
			return nil, fmt.Errorf("device %s: type %q is unknown", n, dev["type"])
		}
	}
	return s.plannedNICs(ctx, in, in.rec.ExpandedDevices, nicsOf(in.rec.ExpandedDevices))
}

// plannedNICs brings up the networks of those of the nics among devices that are
// named, reserves their addresses, and says what the runtime is to plug in.
func (s *System) plannedNICs(ctx context.Context, in *lockedInstance, devices map[string]map[string]string, names []string) ([]network.NIC, error) {
	if err := s.identifyNICs(in, devices, names); err != nil {
		return nil, err
	}
	out := make([]network.NIC, len(names))
	on := map[string][]int{} // which of them are on a network
	for i, n := range names {
		nic, err := s.nic(in.rec, n, devices[n])
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", n, err)
		}
		if out[i] = nic; nic.Kind == network.Bridged {
			on[nic.Bridge] = append(on[nic.Bridge], i)
		}
	}
	for _, name := range sortedKeys(on) {
		if err := s.placeNICs(ctx, in.rec.Name, name, devices, out, on[name]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// placeNICs brings up a network and gives those of an instance's nics that are on it
// their addresses: all at once, since one may be given what another had. Of a bridge of
// the host's nothing is known of addresses.
func (s *System) placeNICs(ctx context.Context, instance, name string, devices map[string]map[string]string, nics []network.NIC, which []int) error {
	first := nics[which[0]].Device
	rec, managed, err := s.nicNetwork(devices[first])
	if err == nil && !managed {
		return nil
	}
	var bridge network.Bridge
	if err == nil {
		bridge, err = s.networkUp(ctx, rec)
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", first, err)
	}
	asks := make([]network.Ask, len(which))
	for i, at := range which {
		asks[i] = askOf(nics[at].Device, nics[at].HWAddr, devices[nics[at].Device])
	}
	reserved, err := bridge.ReserveAll(instance, asks)
	if err != nil {
		return err
	}
	for i, at := range which {
		nics[at] = bridge.Plan(nics[at], reserved[i].IPv4, reserved[i].IPv6)
	}
	return nil
}

const hostNameSuffix = ".host_name"

// identifyNICs gives nics that have none a hardware address and a name on the host,
// which stay theirs.
func (s *System) identifyNICs(in *lockedInstance, devices map[string]map[string]string, names []string) error {
	given := map[string]string{}
	for _, n := range names {
		identifyNIC(n, devices[n], in.rec.Config, given)
	}
	if len(given) == 0 {
		return nil
	}
	rec, err := in.UpdateInstance(in.rec.Name, func(r *tree.Instance) error {
		for k, v := range given {
			r.Config[k] = v
		}
		return s.reexpandKnown(r)
	})
	if err == nil {
		in.rec.Config, in.rec.ExpandedConfig = rec.Config, rec.ExpandedConfig
	}
	return err
}

// identifyNIC puts into given what a nic is to be told by and config has not.
func identifyNIC(name string, dev, config, given map[string]string) {
	for _, key := range nicIdentity(name, dev) {
		switch {
		case config[key] != "":
		case strings.HasSuffix(key, hwaddrSuffix):
			given[key] = network.RandomHWAddr()
		default:
			given[key] = network.RandomHostName()
		}
	}
}

// nicIdentity are the keys with what a nic is to be told by, as far as the device
// itself does not say it.
func nicIdentity(name string, dev map[string]string) (keys []string) {
	kind := nicKind(dev)
	if dev["hwaddr"] == "" && kind != network.Physical {
		keys = append(keys, volatilePrefix+name+hwaddrSuffix)
	}
	if dev["host_name"] == "" && hasHostEnd(kind) {
		keys = append(keys, volatilePrefix+name+hostNameSuffix)
	}
	return keys
}

// hasHostEnd says whether a kind of nic is a pair of which one end is on the host.
func hasHostEnd(kind network.Kind) bool {
	return kind == network.Bridged || kind == network.P2P || kind == network.Routed
}

// nic is what the runtime is to plug in for one nic device, but for what a network gives
// it.
func (s *System) nic(in tree.Instance, name string, dev map[string]string) (network.NIC, error) {
	if err := s.checkNIC(dev); err != nil {
		return network.NIC{}, err
	}
	nic := network.NIC{
		Device: name, Kind: nicKind(dev), Name: innerName(name, dev), HWAddr: nicHWAddr(in.Config, name, dev),
		MACFiltering: isTrue(dev["security.mac_filtering"]), PortIsolation: isTrue(dev["security.port_isolation"]),
		IPv4Filtering: isTrue(dev["security.ipv4_filtering"]), IPv6Filtering: isTrue(dev["security.ipv6_filtering"]),
	}
	if hasHostEnd(nic.Kind) {
		if nic.HostName = dev["host_name"]; nic.HostName == "" {
			nic.HostName = in.Config[volatilePrefix+name+hostNameSuffix]
		}
	}
	if err := nicLive(&nic, dev); err != nil {
		return nic, err
	}
	switch nic.Kind {
	case network.Bridged:
		nic.Bridge = nicBridge(dev)
		nic.NoIPv4, nic.NoIPv6 = dev["ipv4.address"] == noAddress, dev["ipv6.address"] == noAddress
		return nic, nil
	case network.Routed:
		return nic, routedNIC(&nic, dev)
	case network.Macvlan:
		nic.Mode = dev["mode"]
	}
	nic.Parent = dev["parent"]
	return nic, nil
}

// nicLive puts into nic what can change while it is there, but for the filters.
func nicLive(nic *network.NIC, dev map[string]string) error {
	if v := dev["mtu"]; v != "" {
		n, err := parseWithin(v, 0, 65535)
		if err != nil {
			return fmt.Errorf("mtu=%s: %w", v, err)
		}
		nic.MTU = int(n)
	}
	for key, to := range map[string]*uint64{"ingress": &nic.Ingress, "egress": &nic.Egress} {
		v := dev["limits."+key]
		if dev["limits.max"] != "" { // as in Incus, it counts for both
			v = dev["limits.max"]
		}
		if v == "" {
			continue
		}
		n, err := parseBits(v)
		if err != nil {
			return fmt.Errorf("limits.%s=%s: %w", key, v, err)
		}
		*to = n
	}
	if v := dev["limits.priority"]; v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("limits.priority=%s: %w", v, err)
		}
		nic.Priority = uint32(n)
	}
	for _, f := range ipFamilies {
		routes, err := f.routes(dev[f.key+".routes"])
		if err != nil {
			return fmt.Errorf("%s.routes: %w", f.key, err)
		}
		nic.Routes = append(nic.Routes, routes...)
	}
	return nil
}

// The addresses of the host end of a routed nic, which are the instance's next hops
// (Incus, "nictype: routed").
var (
	routedHost4 = netip.MustParseAddr("169.254.0.1")
	routedHost6 = netip.MustParseAddr("fe80::1")
)

// routedNIC puts into nic what is a routed one's.
func routedNIC(nic *network.NIC, dev map[string]string) error {
	v4, v6, err := routedAddresses(dev)
	if err != nil {
		return err
	}
	nic.Parent, nic.Addresses = dev["parent"], append(v4, v6...)
	for i, f := range []struct {
		addrs         []netip.Addr
		normal        netip.Addr
		host, gateway *netip.Addr
		table         *int
		probe         *bool
	}{
		{v4, routedHost4, &nic.Host4, &nic.Gateway4, &nic.Table4, &nic.Probe4},
		{v6, routedHost6, &nic.Host6, &nic.Gateway6, &nic.Table6, &nic.Probe6},
	} {
		if len(f.addrs) == 0 {
			continue
		}
		key := ipFamilies[i].key
		*f.host = f.normal
		if v := dev[key+".host_address"]; v != "" {
			if *f.host, err = ipFamilies[i].parse(v); err != nil {
				return err
			}
		}
		if dev[key+".gateway"] != "none" {
			*f.gateway = *f.host
		}
		if v := dev[key+".host_table"]; v != "" {
			n, err := parseWithin(v, 1, 1<<31-1)
			if err != nil {
				return err
			}
			*f.table = int(n)
		}
		*f.probe = dev[key+".neighbor_probe"] == "" || isTrue(dev[key+".neighbor_probe"])
	}
	return nil
}

// networkUp makes sure that the bridge and its DHCP server run.
func (s *System) networkUp(ctx context.Context, rec state.NetworkRecord) (network.Bridge, error) {
	bridge, err := s.bridge(rec)
	if err != nil {
		return bridge, err
	}
	return bridge, s.bringUp(ctx, bridge)
}

// bringUp makes sure of the same, and tells what stops a network that was down.
func (s *System) bringUp(ctx context.Context, bridge network.Bridge) error {
	was, err := bridge.IsUp()
	if err != nil {
		return err
	}
	if err := bridge.Up(ctx); err != nil {
		return err
	}
	if !was {
		s.tellObstacles(bridge)
	}
	return nil
}
