package network

import "net/netip"

// Bridge is one network: a bridge of the host with its addresses, its
// reservations and its dnsmasq. The zero IPv4 or IPv6 leaves that family out.
type Bridge struct {
	// Name is the bridge's on the host, see ValidateName.
	Name string
	// IPv4 and IPv6 are the bridge's own addresses with the length of the
	// network, for instance 10.1.2.1/24 and fd42:1:2:3::1/64.
	IPv4, IPv6 netip.Prefix
	// Dir holds the reservations (desired state; made when missing). Two bridges
	// never share one.
	Dir string
	// RunDir holds dnsmasq's pid file and leases and the locks (live state, may
	// vanish at reboot; made when missing).
	RunDir string
}
