// Package network gives instances a network: bridges on the host, addresses
// reserved per hardware address, veth pairs into an instance's network
// namespace, and what the kernel knows of the interfaces there.
//
// A Bridge is one network. Its desired state is the fields of the struct and
// the reservations below Bridge.Dir; everything live (the link, its addresses,
// the dnsmasq process) is asked of the kernel, and Up can be called at any time
// to make the live state equal to the desired one. Addresses come to an
// instance in two ways that agree: Attach sets the reserved ones from outside,
// so that an image without any DHCP client has its address from the first
// moment, and dnsmasq offers the same IPv4 address by DHCP and the prefix of
// the same IPv6 address by router advertisements, so that an image that
// configures itself comes to the same result.
//
// The package knows links, addresses and namespaces (by a process id), not
// instances, pools or state directories. What packets may do, and how they are
// translated, is in package firewall.
package network
