package firewall

import (
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// Hairpin lets an instance reach itself by a port that is published from it:
// link is the host end of its interface, on a bridge. It is needed only where
// bridges hand packets to iptables (the module br_netfilter, which docker
// loads): there a packet whose destination was translated to another address on
// the same bridge is bridged, not routed (net/bridge/br_netfilter_hooks.c,
// br_nf_pre_routing_finish), and a bridge sends nothing back where it came from.
// Elsewhere nothing is done: an interface with it hears its own broadcasts.
func Hairpin(link string) error {
	if !bridgeNetfilter() {
		return nil
	}
	l, err := netlink.LinkByName(link)
	if err == nil {
		err = netlink.LinkSetHairpin(l, true)
	}
	if err != nil {
		return fmt.Errorf("cannot set hairpin mode of %s: %w", link, err)
	}
	return nil
}

// bridgeNetfilter says whether bridges hand IPv4 or IPv6 packets to iptables.
func bridgeNetfilter() bool {
	for _, key := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		data, err := os.ReadFile("/proc/sys/net/bridge/" + key)
		if err == nil && strings.TrimSpace(string(data)) == "1" {
			return true
		}
	}
	return false
}
