package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// ranges parses ranges that a test is sure of.
func ranges(t testing.TB, text string) []Range {
	t.Helper()
	list, err := ParseRanges(text, !strings.Contains(text, ":"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestParseRanges(t *testing.T) {
	got, err := ParseRanges(" 10.1.2.3-10.1.2.9 , 10.1.2.20 - 10.1.2.20", true)
	want := []Range{
		{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.9")}, {netip.MustParseAddr("10.1.2.20"), netip.MustParseAddr("10.1.2.20")},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	for _, bad := range []string{
		"", ",", "10.1.2.3", "10.1.2.3-", "-10.1.2.3", "10.1.2.9-10.1.2.3", "10.1.2.3-10.1.2.9,", "10.1.2.3-fd42::1", "fd42::1-fd42::2",
		"10.1.2.3-10.1.2.4-10.1.2.5", "10.1.2.03-10.1.2.9", strings.Repeat("10.1.2.3-10.1.2.3,", 99) + "10.1.2.3-10.1.2.3",
	} {
		if list, err := ParseRanges(bad, true); err == nil {
			t.Errorf("%q is accepted: %v", bad, list)
		}
	}
	if _, err := ParseRanges("fd42::1-fd42::ffff,fd43::-fd43::1", false); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"fe80::1%eth0-fe80::2%eth0", "::ffff:10.0.0.1-::ffff:10.0.0.2", "10.0.0.1-10.0.0.2"} {
		if list, err := ParseRanges(bad, false); err == nil {
			t.Errorf("%q is accepted: %v", bad, list)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("10.1.2.3-10.1.2.9, 10.1.2.20-10.1.2.30", true)
	f.Add("fd42::1-fd42::ffff", false)
	f.Fuzz(func(t *testing.T, text string, ipv4 bool) {
		list, err := ParseRanges(text, ipv4)
		if err != nil {
			return
		}
		var words []string
		for _, r := range list {
			if r.First.Is4() != ipv4 || r.Last.Is4() != ipv4 || r.Last.Less(r.First) {
				t.Errorf("%q -> %v", text, r)
			}
			words = append(words, r.String())
		}
		again, err := ParseRanges(strings.Join(words, ","), ipv4)
		if err != nil || len(again) != len(list) {
			t.Errorf("%q -> %v -> %v, %v", text, list, again, err)
		}
	})
}

func TestValidateExpiry(t *testing.T) {
	for text, ok := range map[string]bool{
		"1h": true, "120": true, "2m": true, "infinite": true, "7d": true, "52w": true, "": false, "h": false, "119": false, "1m": false,
		"-1h": false, "+1h": false, "1y": false, "1h30m": false, "1h,static": false, "4294967295": false, "9999999w": false,
	} {
		if err := ValidateExpiry(text); (err == nil) != ok {
			t.Errorf("ValidateExpiry(%q) = %v", text, err)
		}
	}
}

// FuzzNames: no domain or name of an instance can become another option of dnsmasq
// or another line of the names.
func FuzzNames(f *testing.F) {
	f.Add("lxd", "web", "1h")
	f.Add("a\nserver=/x/", "a,b", "1h,ignore")
	f.Fuzz(func(t *testing.T, domain, instance, expiry string) {
		b := idleBridge(t)
		b.Domain, b.Search, b.Expiry4, b.Expiry6 = domain, []string{domain}, expiry, expiry
		if b.Validate() != nil || validateInstance(instance) != nil {
			return
		}
		for _, arg := range b.dnsmasqArgs("root") {
			if strings.ContainsAny(arg, "\n\r\x00") || !strings.HasPrefix(arg, "--") {
				t.Errorf("argument %q", arg)
			}
		}
		if domain != "" && strings.ContainsAny(domain, ",/ \t\"\\#") || strings.ContainsAny(expiry, ", ") {
			t.Errorf("domain %q, expiry %q", domain, expiry)
		}
		names := b.formatNames(map[string]Reservation{"00:16:3e:01:02:03": {"00:16:3e:01:02:03", instance, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd42::1")}})
		lines := strings.Split(strings.TrimSuffix(string(names), "\n"), "\n")
		if len(lines) != 2 || len(strings.Fields(lines[0])) != 3 || len(strings.Fields(lines[1])) != 3 {
			t.Errorf("names %q", names)
		}
	})
}

// TestValidateTogether: what does not agree with the subnets is refused.
func TestValidateTogether(t *testing.T) {
	good := idleBridge(t)
	good.Ranges4, good.Ranges6 = ranges(t, "10.1.2.10-10.1.2.20,10.1.2.30-10.1.2.30"), ranges(t, "fd42:1:2:3::10-fd42:1:2:3::20")
	good.Gateway4, good.MTU, good.HWAddr = netip.MustParseAddr("10.1.2.254"), 9000, "00:16:3e:00:00:01"
	good.Routes4 = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for problem, change := range map[string]func(*Bridge){
		"is not of hosts in the subnet 10.1.2.0/24":     func(b *Bridge) { b.Ranges4 = ranges(t, "10.1.2.250-10.1.3.2") },
		"is not of hosts in the subnet 10.1.2.0":        func(b *Bridge) { b.Ranges4 = ranges(t, "10.1.2.2-10.1.2.255") },
		"is not of hosts in the subnet fd42:1:2:3::/64": func(b *Bridge) { b.Ranges6 = ranges(t, "fd42:1:2:4::1-fd42:1:2:4::2") },
		"overlap": func(b *Bridge) { b.Ranges4 = ranges(t, "10.1.2.5-10.1.2.9,10.1.2.9-10.1.2.11") },
		"the gateway 10.1.3.1 is no host's address":       func(b *Bridge) { b.Gateway4 = netip.MustParseAddr("10.1.3.1") },
		"invalid MTU 1279: want 1280 to 65535":            func(b *Bridge) { b.MTU = 1279 },
		"invalid MTU 65536":                               func(b *Bridge) { b.MTU = 65536 },
		"it is a multicast address":                       func(b *Bridge) { b.HWAddr = "01:16:3e:00:00:01" },
		"the route to 10.1.0.0/16 overlaps the network's": func(b *Bridge) { b.Routes4 = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")} },
		`invalid domain "a b"`:                            func(b *Bridge) { b.Domain = "a b" },
		`invalid domain ".lxd"`:                           func(b *Bridge) { b.Search = []string{"ok", ".lxd"} },
		"invalid DNS mode":                                func(b *Bridge) { b.DNSMode = "some" },
		"contains a zero byte":                            func(b *Bridge) { b.RawDnsmasq = "a\x00" },
		"too short":                                       func(b *Bridge) { b.Expiry6 = "1m" },
		"invalid IPv4 network 169.254.0.2/16: no host can have": func(b *Bridge) {
			b.IPv4, b.Ranges4, b.Gateway4 = netip.MustParsePrefix("169.254.0.2/16"), nil, netip.Addr{}
		},
		"invalid IPv6 network fe80::1/64: no host can have": func(b *Bridge) { b.IPv6, b.Ranges6 = netip.MustParsePrefix("fe80::1/64"), nil },
	} {
		b := good
		change(&b)
		if err := b.Validate(); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: got %v", problem, err)
		}
	}
	// Without the family nothing is said of it.
	good.IPv4, good.IPv6 = netip.Prefix{}, netip.Prefix{}
	good.MTU = 68
	if err := good.Validate(); err != nil || good.Subnets() != nil {
		t.Error(err, good.Subnets())
	}
}

// TestChooseInRanges: addresses come from the ranges, each once, those that are asked
// for from anywhere in the subnet.
func TestChooseInRanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := idleBridge(t)
		b.Stateful6 = true
		first := rapid.IntRange(2, 250).Draw(rt, "first")
		last := rapid.IntRange(first, min(first+5, 254)).Draw(rt, "last")
		b.Ranges4 = ranges(t, "10.1.2."+itoa(first)+"-10.1.2."+itoa(last))
		b.Ranges6 = ranges(t, "fd42:1:2:3::"+itoa(first)+"-fd42:1:2:3::"+itoa(first)+",fd42:1:2:3:8000::-fd42:1:2:3:ffff:ffff:ffff:ffff")
		all := map[string]Reservation{}
		seen := map[netip.Addr]bool{}
		for range last - first + 1 {
			hw, _ := parseHWAddr(RandomHWAddr())
			v4, err := b.chooseIPv4(hw.String(), netip.Addr{}, netip.Addr{}, all)
			if err != nil || seen[v4] || !b.Ranges4[0].Contains(v4) {
				rt.Fatalf("%s, %v", v4, err)
			}
			v6, err := b.chooseIPv6(hw, netip.Addr{}, netip.Addr{}, all)
			if err != nil || seen[v6] || !inRanges(b.Ranges6, v6) {
				rt.Fatalf("%s, %v", v6, err)
			}
			seen[v4], seen[v6] = true, true
			all[hw.String()] = Reservation{hw.String(), "web", v4, v6}
		}
		if v4, err := b.chooseIPv4("x", netip.Addr{}, netip.Addr{}, all); err == nil {
			rt.Fatalf("%s is one more", v4)
		}
	})
}

// TestFixed: an address that is asked for is given, or refused with the reason.
func TestFixed(t *testing.T) {
	b := idleBridge(t)
	fixed4, fixed6 := netip.MustParseAddr("10.1.2.200"), netip.MustParseAddr("fd42:1:2:3::200")
	b.Ranges4 = ranges(t, "10.1.2.10-10.1.2.20")
	v4, v6, err := b.Reserve("web", "00:16:3e:01:02:03", fixed4, fixed6)
	if err != nil || v4 != fixed4 || v6 != fixed6 {
		t.Fatal(v4, v6, err)
	}
	for problem, want := range map[string][2]string{
		"10.1.2.200 is reserved for the instance web":      {"10.1.2.200", ""},
		"fd42:1:2:3::200 is reserved for the instance web": {"", "fd42:1:2:3::200"},
		"10.1.2.1 is the network's own":                    {"10.1.2.1", ""},
		"fd42:1:2:3::1 is the network's own":               {"", "fd42:1:2:3::1"},
		"10.1.3.7 is not in the subnet 10.1.2.0/24":        {"10.1.3.7", ""},
		"fd43::7 is not in the subnet":                     {"", "fd43::7"},
		"10.1.2.255 is no host's address":                  {"10.1.2.255", ""},
	} {
		f4, _ := netip.ParseAddr(want[0])
		f6, _ := netip.ParseAddr(want[1])
		if _, _, err := b.Reserve("db", "00:16:3e:01:02:04", f4, f6); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("want %s, got %v", problem, err)
		}
	}
	// Without DHCP only what is asked for.
	b.DHCP4 = false
	if v4, v6, err := b.Reserve("db", "00:16:3e:01:02:04", netip.Addr{}, netip.Addr{}); err != nil || v4.IsValid() || !v6.IsValid() {
		t.Error(v4, v6, err)
	}
	if v4, _, err := b.Reserve("web", "00:16:3e:01:02:03", fixed4, netip.Addr{}); err != nil || v4 != fixed4 {
		t.Error(v4, err)
	}
	// No longer asked for, it is from the ranges again.
	b.DHCP4 = true
	if v4, v6, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{}); err != nil || !inRanges(b.Ranges4, v4) || v6 == fixed6 {
		t.Error(v4, v6, err)
	}
}
