package network

import (
	"fmt"
	"net/netip"
	"strings"
)

// StaticRoute is one that instances are told by DHCP.
type StaticRoute struct {
	To      netip.Prefix
	Gateway netip.Addr // 0.0.0.0 for what is on the link
}

// ParseStaticRoutes reads IPv4 subnets and their gateways in turn, all separated by
// commas, as dnsmasq takes them (man dnsmasq, --dhcp-option; RFC 3442):
// "192.0.2.0/24,10.1.2.3,198.51.100.0/24,0.0.0.0".
func ParseStaticRoutes(s string) ([]StaticRoute, error) {
	words := strings.Split(s, ",")
	if len(words)%2 != 0 {
		return nil, fmt.Errorf("%q is no list of subnets with a gateway after each", s)
	}
	var list []StaticRoute
	for i := 0; i < len(words); i += 2 {
		to, err := netip.ParsePrefix(strings.TrimSpace(words[i]))
		if err != nil || !to.Addr().Is4() || to != to.Masked() {
			return nil, fmt.Errorf("%q is no IPv4 subnet", strings.TrimSpace(words[i]))
		}
		gateway, err := netip.ParseAddr(strings.TrimSpace(words[i+1]))
		if err != nil || !gateway.Is4() {
			return nil, fmt.Errorf("%q is no IPv4 address of a gateway", strings.TrimSpace(words[i+1]))
		}
		list = append(list, StaticRoute{to, gateway})
	}
	return list, nil
}
