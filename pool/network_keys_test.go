package pool

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"poolctl/pool/state"
)

// Each key takes its values and refuses others with the reason.
func TestNetworkKeys(t *testing.T) {
	for key, values := range map[string]struct{ good, bad []string }{
		"ipv4.address":               {[]string{"auto", "none", "10.1.2.1/24"}, []string{"10.1.2.0/24", "10.1.2.1", "fd42::1/64", "x", "10.1.2.1/33"}},
		"ipv6.address":               {[]string{"auto", "none", "fd42::1/64"}, []string{"fd42::/64", "10.1.2.1/24", "::ffff:10.1.2.1/64"}},
		"ipv4.nat":                   {[]string{"true", "no", "1"}, []string{"maybe"}},
		"ipv6.nat":                   {[]string{"true"}, []string{"2"}},
		"ipv4.nat.address":           {[]string{"192.0.2.1"}, []string{"fd42::1", "192.0.2.1/24"}},
		"ipv6.nat.address":           {[]string{"fd42::1"}, []string{"192.0.2.1", "fe80::1%eth0"}},
		"ipv4.nat.order":             {[]string{"before", "after"}, []string{"first"}},
		"ipv6.nat.order":             {[]string{"before"}, []string{"first"}},
		"ipv4.dhcp":                  {[]string{"false"}, []string{"off?"}},
		"ipv4.dhcp.ranges":           {[]string{"10.1.2.3-10.1.2.9,10.1.2.20-10.1.2.30"}, []string{"10.1.2.3", "fd42::1-fd42::2"}},
		"ipv4.dhcp.expiry":           {[]string{"1h", "infinite"}, []string{"1 h", "1m"}},
		"ipv4.dhcp.gateway":          {[]string{"none", "10.1.2.254"}, []string{"auto", "fd42::1"}},
		"ipv4.dhcp.routes":           {[]string{"192.0.2.0/24,10.1.2.3, 198.51.100.0/24,0.0.0.0"}, []string{"192.0.2.0/24", "192.0.2.1/24,10.1.2.3", "fd42::/64,fd42::1", "192.0.2.0/24,x"}},
		"ipv4.firewall":              {[]string{"false"}, []string{"x"}},
		"ipv4.routing":               {[]string{"false"}, []string{"x"}},
		"ipv4.routes":                {[]string{"10.9.0.0/16, 10.8.1.0/24"}, []string{"10.9.0.1/16", "0.0.0.0/0", "fd42::/64", "10.9.0.0/16,"}},
		"ipv6.dhcp":                  {[]string{"false"}, []string{"x"}},
		"ipv6.dhcp.stateful":         {[]string{"true"}, []string{"x"}},
		"ipv6.dhcp.ranges":           {[]string{"fd42::1-fd42::2"}, []string{"10.1.2.3-10.1.2.4"}},
		"ipv6.dhcp.expiry":           {[]string{"2h"}, []string{"x"}},
		"ipv6.firewall":              {[]string{"false"}, []string{"x"}},
		"ipv6.routing":               {[]string{"false"}, []string{"x"}},
		"ipv6.routes":                {[]string{"fd43::/48"}, []string{"::/0", "10.9.0.0/16"}},
		"bridge.mtu":                 {[]string{"1400", "9000"}, []string{"67", "65536", "1e3", "-1"}},
		"bridge.hwaddr":              {[]string{"00:16:3e:01:02:03"}, []string{"01:16:3e:01:02:03", "00:00:00:00:00:00", "00:16:3e:01:02", "x"}},
		"bridge.external_interfaces": {[]string{"eth1", "eth1, eth2"}, []string{"eth1/eth0/5", "eth1,", "a b"}},
		"dns.domain":                 {[]string{"lxd", "a.example"}, []string{".lxd", "a b", "a,b", "a\nb", strings.Repeat("a", 64)}},
		"dns.mode":                   {[]string{"managed", "dynamic", "none"}, []string{"off"}},
		"dns.search":                 {[]string{"a.example, lxd"}, []string{"a.example,,lxd", "a b"}},
		"dns.nameservers":            {[]string{"192.0.2.53, fd42::53"}, []string{"resolver", "192.0.2.53,"}},
		"dns.etc_hosts":              {[]string{"true"}, []string{"x"}},
		"raw.dnsmasq":                {[]string{"server=/x/10.0.0.1\nport=0"}, []string{"a\x00b"}},
		"user.anything":              {[]string{"x\ny"}, nil},
	} {
		for _, v := range append(values.good, "") {
			if err := checkNetworkKeys(map[string]string{key: v}); err != nil {
				t.Errorf("%s=%q: %v", key, v, err)
			}
		}
		for _, v := range values.bad {
			if err := checkNetworkKeys(map[string]string{key: v}); err == nil || !strings.HasPrefix(err.Error(), key+"=") {
				t.Errorf("%s=%q: %v", key, v, err)
			}
		}
	}
	for _, key := range []string{"ipv4.adress", "tunnel.a.protocol", "bgp.ipv4.nexthop", "user", "user.", "volatile.x", "ipv6.dhcp.routes", "ipv4.ovn.ranges", "ipv6.ovn.ranges", "bridge.driver", "dns.zone.forward", "security.acls.default.egress.action"} {
		err := checkNetworkKeys(map[string]string{key: "x"})
		if err == nil || !strings.Contains(err.Error(), "unknown key") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// Each key is told of in docs/network.md with what holds without it.
func TestNetworkKeysDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range NetworkKeys() {
		if row := fmt.Sprintf("| `%s` | %s | %s |", k.Name, k.About, k.Default); !strings.Contains(string(doc), row) {
			t.Errorf("docs/network.md has not: %s", row)
		}
	}
}

// A record without keys has Incus's defaults, and each key reaches the bridge.
func TestNetworkKeysReachBridge(t *testing.T) {
	s := &System{dir: &state.Dir{Root: t.TempDir()}}
	plain, err := s.bridge(state.NetworkRecord{Name: "br0"})
	if err != nil {
		t.Fatal(err)
	}
	if !plain.Routing4 || !plain.Routing6 || !plain.Firewall4 || !plain.Firewall6 || !plain.DHCP4 || !plain.DHCP6 || plain.NAT4 || plain.NAT6 || plain.Stateful6 {
		t.Errorf("%+v", plain)
	}
	other := map[string]string{ // what is another value than the default
		"ipv4.address": "10.1.2.1/24", "ipv6.address": "fd42::1/64", "dns.domain": "x", "dns.mode": "none", "dns.search": "x", "dns.nameservers": "10.1.2.3",
		"ipv4.dhcp.ranges": "10.1.2.3-10.1.2.9", "ipv6.dhcp.ranges": "fd42::3-fd42::4", "ipv4.routes": "10.9.0.0/16", "ipv6.routes": "fd43::/64",
		"ipv4.nat.address": "192.0.2.1", "ipv6.nat.address": "fd44::1", "ipv4.dhcp.expiry": "2h", "ipv6.dhcp.expiry": "2h", "ipv4.dhcp.gateway": "none",
		"ipv4.dhcp.routes": "192.0.2.0/24,10.1.2.9", "bridge.external_interfaces": "eth9",
		"bridge.mtu": "1400", "bridge.hwaddr": "00:16:3e:01:02:03", "raw.dnsmasq": "x",
	}
	for _, k := range NetworkKeys() {
		if strings.HasSuffix(k.Name, ".nat.order") { // as with Incus's nftables
			continue
		}
		values := []string{other[k.Name]}
		if values[0] == "" {
			values = []string{"true", "false"}
		}
		if !slices.ContainsFunc(values, func(v string) bool {
			b, err := s.bridge(state.NetworkRecord{Name: "br0", Config: map[string]string{k.Name: v}})
			return err == nil && fmt.Sprintf("%+v", b) != fmt.Sprintf("%+v", plain)
		}) {
			t.Errorf("%s changes nothing", k.Name)
		}
	}
}
