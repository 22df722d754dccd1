package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseBits(t *testing.T) {
	for text, want := range map[string]uint64{
		"8000": 8000, "8000bit": 8000, "8kbit": 8000, "100Mbit": 1e8, "1Gbit": 1e9, "2Tbit": 2e12, "1Pbit": 1e15, "1Ebit": 1e18,
		"8Kibit": 8 << 10, "1Mibit": 1 << 20, "1Gibit": 1 << 30, "1Tibit": 1 << 40, "1Pibit": 1 << 50, "4Eibit": 4 << 60, "100 Mbit": 1e8,
	} {
		if n, err := parseBits(text); err != nil || n != want {
			t.Errorf("%s is %d, %v; want %d", text, n, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "not a number", "Mbit": "not a number", "-1Mbit": "not a number", "+1Mbit": "not a number", "1.5Mbit": "not a number", "1MB": "not a number",
		"1mbit": "not a number", "0": "not a number", "0Gbit": "not a number", "1Mbit/s": "not a number", "1e9": "not a number", "9Eibit": "not a number",
		"18446744073709551616": "not a number", "7999": "less than 8kbit", "7kbit": "less than 8kbit",
	} {
		if n, err := parseBits(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %d, %v; want %s", text, n, err, want)
		}
	}
}

// What lists of addresses and of networks take, and what each refuses, with the reason.
func TestNICLists(t *testing.T) {
	four, six := ipFamilies[0], ipFamilies[1]
	for _, c := range []struct {
		family ipFamily
		text   string
		want   string // the addresses, or the reason
	}{
		{four, "192.0.2.1", "192.0.2.1"},
		{four, "192.0.2.1, 192.0.2.2", "192.0.2.1 192.0.2.2"},
		{four, "", ""},
		{four, "192.0.2.1,", `"" is not an IPv4 address`},
		{four, "192.0.2.1,192.0.2.1", "192.0.2.1 is there twice"},
		{four, "192.0.2.1/24", "is not an IPv4 address"},
		{four, "192.0.2.256", "is not an IPv4 address"},
		{four, "fd42::1", "is not an IPv4 address"},
		{four, "0.0.0.0", "is no host's address"},
		{four, "127.0.0.1", "is no host's address"},
		{four, "224.0.0.1", "is no host's address"},
		{four, "255.255.255.255", "is no host's address"},
		{six, "fd42::1,fd42::2", "fd42::1 fd42::2"},
		{six, "fd42::1,FD42:0::1", "fd42::1 is there twice"},
		{six, "::ffff:192.0.2.1", "is not an IPv6 address"},
		{six, "fe80::1%eth0", "is not an IPv6 address"},
		{six, "::1", "is no host's address"},
		{six, "ff02::1", "is no host's address"},
	} {
		list, err := c.family.addresses(c.text)
		said(t, c.text, strings.Trim(fmt.Sprint(list), "[]"), err, c.want)
	}
	for _, c := range []struct {
		family ipFamily
		text   string
		want   string
	}{
		{four, "192.0.2.0/24, 198.51.100.7/32", "192.0.2.0/24 198.51.100.7/32"},
		{four, "", ""},
		{four, "192.0.2.1/24", "192.0.2.1/24 is an address in a network"},
		{four, "192.0.2.0", "is not an IPv4 network"},
		{four, "192.0.2.0/33", "is not an IPv4 network"},
		{four, "fd42::/64", "is not an IPv4 network"},
		{four, "0.0.0.0/0", "a default route would cut off the host"},
		{four, "192.0.2.0/24,192.0.2.0/24", "is there twice"},
		{six, "fd42::/64", "fd42::/64"},
		{six, "::/0", "a default route would cut off the host"},
		{six, "::ffff:192.0.2.0/120", "is not an IPv6 network"},
	} {
		list, err := c.family.routes(c.text)
		said(t, c.text, strings.Trim(fmt.Sprint(list), "[]"), err, c.want)
	}
}

func said(t *testing.T, text, got string, err error, want string) {
	t.Helper()
	if err != nil && !strings.Contains(err.Error(), want) || err != nil && want == "" || err == nil && got != want {
		t.Errorf("%q: %q, %v; want %q", text, got, err, want)
	}
}

// Each key of nics takes its values and refuses others, with its name first.
func TestNICKeys(t *testing.T) {
	for key, values := range map[string]struct {
		kind      string
		good, bad []string
	}{
		"nictype":                 {"bridged", []string{"bridged"}, nil},
		"network":                 {"bridged", []string{"br0"}, nil},
		"parent":                  {"macvlan", []string{"eth0", "eth0.5"}, []string{"a/b", "x", "sixteen-letters-"}},
		"name":                    {"p2p", []string{"eth0"}, []string{"lo", "a b", ".."}},
		"hwaddr":                  {"p2p", []string{"00:16:3e:01:02:03"}, []string{"01:16:3e:01:02:03", "x"}},
		"mtu":                     {"p2p", []string{"68", "65535"}, []string{"67", "65536", "x"}},
		"host_name":               {"p2p", []string{"veth1"}, []string{"a/b"}},
		"mode":                    {"macvlan", []string{"bridge", "vepa", "private", "passthru"}, []string{"x"}},
		"vlan":                    {"bridged", nil, []string{"5", "none"}},
		"vlan.tagged":             {"bridged", nil, []string{"5-7"}},
		"gvrp":                    {"physical", nil, []string{"true"}},
		"security.acls":           {"bridged", nil, []string{"web"}},
		"ipv4.routes.external":    {"bridged", nil, []string{"192.0.2.0/24"}},
		"ipv6.routes.external":    {"bridged", nil, []string{"fd42::/64"}},
		"queue.tx.length":         {"p2p", nil, []string{"1000"}},
		"boot.priority":           {"p2p", nil, []string{"1"}},
		"limits.ingress":          {"routed", []string{"1Mbit"}, []string{"fast"}},
		"limits.egress":           {"p2p", []string{"1Mbit"}, []string{"fast"}},
		"limits.max":              {"bridged", []string{"1Mbit"}, []string{"fast"}},
		"limits.priority":         {"bridged", []string{"0", "4294967295"}, []string{"-1", "4294967296"}},
		"security.mac_filtering":  {"bridged", []string{"true"}, []string{"x"}},
		"security.ipv4_filtering": {"bridged", []string{"true"}, []string{"x"}},
		"security.ipv6_filtering": {"bridged", []string{"true"}, []string{"x"}},
		"security.port_isolation": {"bridged", []string{"true"}, []string{"x"}},
		"ipv4.address":            {"bridged", []string{"10.1.2.3", "none"}, []string{"10.1.2.3/24", "10.1.2.3,10.1.2.4", "auto"}},
		"ipv6.address":            {"routed", []string{"fd42::3,fd42::4"}, []string{"none", "10.1.2.3"}},
		"ipv4.routes":             {"p2p", []string{"192.0.2.0/24"}, []string{"192.0.2.1/24"}},
		"ipv6.routes":             {"p2p", []string{"fd42::/64"}, []string{"::/0"}},
		"ipv4.gateway":            {"routed", []string{"auto", "none"}, []string{"10.1.2.1"}},
		"ipv6.gateway":            {"routed", []string{"auto", "none"}, []string{"fe80::1"}},
		"ipv4.host_address":       {"routed", []string{"169.254.0.2"}, []string{"fe80::2", "x"}},
		"ipv6.host_address":       {"routed", []string{"fe80::2"}, []string{"169.254.0.2"}},
		"ipv4.host_table":         {"routed", []string{"100"}, []string{"0", "x"}},
		"ipv6.host_table":         {"routed", []string{"100"}, []string{"-1"}},
		"ipv4.neighbor_probe":     {"routed", []string{"false"}, []string{"x"}},
		"ipv6.neighbor_probe":     {"routed", []string{"false"}, []string{"x"}},
	} {
		check := func(v string) error {
			return checkNICKeys(map[string]string{"type": "nic", "nictype": values.kind, key: v})
		}
		for _, v := range values.good {
			if err := check(v); err != nil {
				t.Errorf("%s=%s: %v", key, v, err)
			}
		}
		for _, v := range values.bad {
			if err := check(v); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s=%s: %v", key, v, err)
			}
		}
	}
}

// FuzzNICValues: whatever the lists and rates take is what was said, and can be used.
func FuzzNICValues(f *testing.F) {
	for _, text := range []string{"100Mbit", "8 kbit", "192.0.2.1, 192.0.2.2", "fd42::1", "192.0.2.0/24,10.0.0.0/8", "fd42::/64", "::ffff:1.2.3.4", "4Eibit", "00163e010203"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseBits(text); err == nil && (n < 8000 || n > 1<<63) {
			t.Errorf("%q is %d bits", text, n)
		}
		for _, family := range ipFamilies {
			addrs, err := family.addresses(text)
			for _, a := range addrs {
				if err != nil || !family.is(a) || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || !strings.Contains(text, ",") && len(addrs) > 1 {
					t.Errorf("%q has the address %s, %v", text, a, err)
				}
			}
			routes, err := family.routes(text)
			for i, p := range routes {
				if err != nil || p.Masked() != p || p.Bits() == 0 || !family.is(p.Addr()) || slices.Contains(routes[:i], p) {
					t.Errorf("%q has the network %s, %v", text, p, err)
				}
			}
			subnets, err := parseSubnets(text, family.name == "IPv4")
			for _, p := range subnets {
				if err != nil || p.Masked() != p || p.Bits() == 0 || !family.is(p.Addr()) {
					t.Errorf("%q has the subnet %s, %v", text, p, err)
				}
			}
			if err := checkNetworkAddress(family.name == "IPv4")(text); err == nil && text != autoAddress && text != noAddress {
				if p, err := netip.ParsePrefix(text); err != nil || p.Masked().Addr() == p.Addr() {
					t.Errorf("%q is the address of a network", text)
				}
			}
		}
		if list, err := parseNameservers(text); err == nil && len(list) != strings.Count(text, ",")+1 {
			t.Errorf("%q has the resolvers %v", text, list)
		}
		if checkHWAddr(text) == nil && len(text) < 12 { // without what divides them
			t.Errorf("%q is a hardware address", text)
		}
	})
}
