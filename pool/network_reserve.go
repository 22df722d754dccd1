package pool

import (
	"net/netip"

	"poolctl/runtime/network"
)

// fixedAddresses are the addresses that a nic device asks for.
func fixedAddresses(dev map[string]string) (v4, v6 netip.Addr) {
	v4, _ = netip.ParseAddr(dev["ipv4.address"]) // checked with the device; "none" is none
	v6, _ = netip.ParseAddr(dev["ipv6.address"])
	return v4, v6
}

// askOf is what a nic device asks of its network.
func askOf(name, hwaddr string, dev map[string]string) network.Ask {
	v4, v6 := fixedAddresses(dev)
	return network.Ask{Device: name, HWAddr: hwaddr, IPv4: v4, IPv6: v6}
}
