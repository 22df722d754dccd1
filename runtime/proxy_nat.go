package runtime

import (
	"context"
	"errors"
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
// others, of the instance of a run directory.
func applyNAT(runDir string, list []liveProxy) error {
	rules, err := natRules(runDir, list)
	for _, r := range rules {
		err = errors.Join(err, r.Apply())
	}
	return err
}

// natRules are the rules for the devices in the list, of each interface that the instance
// has now with an end on the host.
func natRules(runDir string, list []liveProxy) ([]firewall.Published, error) {
	nics, err := loadNICs(runDir)
	if err != nil {
		return nil, err
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
			return nil, fmt.Errorf("device %s: no interface of the instance has the address %s", p.Device.Name, p.Device.Connect.IP)
		}
		forwards[at] = append(forwards[at], forwardsOf(p.Device)...)
	}
	var rules []firewall.Published
	for i, n := range nics {
		if n.HostName == "" {
			continue
		}
		r := firewall.Published{Link: n.HostName, Forwards: forwards[i]}
		for _, s := range []netip.Prefix{n.IPv4, n.IPv6} {
			if s.IsValid() {
				r.Subnets = append(r.Subnets, s.Masked())
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// ProxyRules are those of nftables for the proxy devices that the kernel translates
// addresses for.
func (i *Instance) ProxyRules() ([]firewall.Published, error) {
	list, err := loadProxies(i.dir)
	if err != nil || !hasNAT(list) {
		return nil, err
	}
	return natRules(i.dir, list)
}

// MendProxyRules makes those anew that are not as they should be.
func (i *Instance) MendProxyRules(ctx context.Context) error {
	unlock, err := lockProxies(ctx, i.dir)
	if err != nil {
		return err
	}
	defer unlock()
	list, err := loadProxies(i.dir)
	if err != nil || !hasNAT(list) {
		return err
	}
	return applyNAT(i.dir, list)
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
