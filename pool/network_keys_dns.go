package pool

import (
	"net/netip"
	"strings"

	"poolctl/runtime/network"
)

// dnsModes are the values of dns.mode.
var dnsModes = map[string]network.DNSMode{"managed": network.DNSManaged, "dynamic": network.DNSDynamic, "none": network.DNSNone}

// dnsKeys are those of names.
func dnsKeys() []NetworkKey {
	return []NetworkKey{
		{
			Name: "dns.domain", Default: network.DefaultDomain, About: "domain of the instances' names, which they search too",
			check: network.ValidateDomain, set: func(b *network.Bridge, v string) { b.Domain = v },
		},
		{
			Name: "dns.mode", Default: "managed", About: "which names there are: managed for those of all instances, dynamic for those that they tell the DHCP server, none",
			check: checkOneOf("managed", "dynamic", "none"), set: func(b *network.Bridge, v string) { b.DNSMode = dnsModes[v] },
		},
		{
			Name: "dns.search", Default: "dns.domain", About: "domains that instances search, separated by commas",
			check: func(v string) error {
				for _, d := range splitList(v) {
					if err := network.ValidateDomain(d); err != nil {
						return err
					}
				}
				return nil
			},
			set: func(b *network.Bridge, v string) { b.Search = splitList(v) },
		},
		{
			Name: "dns.nameservers", Default: "the bridge's addresses", About: "resolvers that instances are told, separated by commas",
			check: func(v string) error { _, err := parseNameservers(v); return err },
			set:   func(b *network.Bridge, v string) { b.Nameservers, _ = parseNameservers(v) },
		},
		{
			Name: "dns.etc_hosts", Default: "false", About: "whether the managed names are in the host's /etc/hosts, too",
			check: checkBool, set: func(b *network.Bridge, v string) { b.EtcHosts = isTrue(v) },
		},
		{
			Name: "raw.dnsmasq", About: "lines for the end of dnsmasq's configuration",
			check: network.ValidateRaw, set: func(b *network.Bridge, v string) { b.RawDnsmasq = v },
		},
	}
}

// splitList is what is separated by commas, without the spaces around it.
func splitList(v string) []string {
	words := strings.Split(v, ",")
	for i, w := range words {
		words[i] = strings.TrimSpace(w)
	}
	return words
}

func parseNameservers(v string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, word := range splitList(v) {
		a, err := network.ParseAddr(word, !strings.Contains(word, ":"))
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}
