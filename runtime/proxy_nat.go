package runtime

import (
	"fmt"
	"net/netip"
	"slices"

	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
	"poolctl/runtime/proxy"
)

// hasNAT says whether the kernel translates addresses for any of the devices.
func hasNAT(list []liveProxy) bool {
	for _, p := range list {
		if p.Device.NAT {
			return true
		}
	}
	return false
}

// applyNAT has the kernel translate addresses for the devices in the list, and for no
// others, of the instance of a run directory, with the interfaces that it has now.
func applyNAT(runDir string, list []liveProxy) error {
	nics, err := loadNICs(runDir)
	if err != nil {
		return err
	}
	forwards := make([][]firewall.Forward, len(nics))
	for _, p := range list {
		if !p.Device.NAT {
			continue
		}
		at := -1
		for i, n := range nics {
			if n.HostName != "" && slices.Contains(addressesOf(n), p.Device.Connect.IP) {
				at = i
			}
		}
		if at < 0 {
			return fmt.Errorf("device %s: no interface of the instance has the address %s", p.Device.Name, p.Device.Connect.IP)
		}
		forwards[at] = append(forwards[at], forwardsOf(p.Device)...)
	}
	for i, n := range nics {
		if n.HostName == "" { // no end of it is on the host
			continue
		}
		var subnets []netip.Prefix
		for _, s := range []netip.Prefix{n.IPv4, n.IPv6} {
			if s.IsValid() {
				subnets = append(subnets, s.Masked())
			}
		}
		if err := firewall.ApplyForwards(n.HostName, subnets, forwards[i]); err != nil {
			return err
		}
	}
	return nil
}

// addressesOf are those that an interface has for good.
func addressesOf(n network.NIC) []netip.Addr {
	return append(slices.Clone(n.Addresses), n.IPv4.Addr(), n.IPv6.Addr())
}

// forwardsOf is a device with ranges in the place of single ports.
func forwardsOf(d proxy.Device) []firewall.Forward {
	var out []firewall.Forward
	target := func(i int) uint16 {
		if len(d.Connect.Ports) == 1 {
			return d.Connect.Ports[0]
		}
		return d.Connect.Ports[i]
	}
	step := 1
	if len(d.Connect.Ports) == 1 {
		step = 0
	}
	for i := 0; i < len(d.Listen.Ports); {
		j := i
		for j+1 < len(d.Listen.Ports) && d.Listen.Ports[j+1] == d.Listen.Ports[j]+1 && int(target(j+1)) == int(target(j))+step {
			j++
		}
		out = append(out, firewall.Forward{
			Listen: d.Listen.IP, Protocol: d.Listen.Kind, Ports: firewall.PortRange{First: d.Listen.Ports[i], Last: d.Listen.Ports[j]},
			Target: d.Connect.IP, TargetPorts: firewall.PortRange{First: target(i), Last: target(j)},
		})
		i = j + 1
	}
	return out
}
