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

// reserve reserves the addresses of an instance's nic device.
func reserve(b network.Bridge, instance, hwaddr string, dev map[string]string) (v4, v6 netip.Addr, err error) {
	fixed4, fixed6 := fixedAddresses(dev)
	return b.Reserve(instance, hwaddr, fixed4, fixed6)
}
