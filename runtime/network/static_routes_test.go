package network

import (
	"net/netip"
	"strings"
	"testing"
)

// Routes are told as dnsmasq takes them, with the gateway among them: a client that heeds routes heeds no other.
func TestStaticRoutes(t *testing.T) {
	b := idleBridge(t)
	for _, c := range []struct{ text, gateway, want string }{
		{"192.0.2.0/24,10.1.2.3", "", "192.0.2.0/24,10.1.2.3,0.0.0.0/0,10.1.2.1"},
		{"192.0.2.0/24, 10.1.2.3", "10.1.2.254", "192.0.2.0/24,10.1.2.3,0.0.0.0/0,10.1.2.254"},
		{"192.0.2.0/24,0.0.0.0", "none", "192.0.2.0/24,0.0.0.0"},
		{"0.0.0.0/0,10.1.2.9", "", "0.0.0.0/0,10.1.2.9"},
	} {
		routes, err := ParseStaticRoutes(c.text)
		if err != nil {
			t.Fatal(err)
		}
		b.StaticRoutes4, b.NoGateway4 = routes, c.gateway == "none"
		b.Gateway4, _ = netip.ParseAddr(c.gateway)
		if err := b.Validate(); err != nil {
			t.Errorf("%s: %v", c.text, err)
		}
		if want, args := "--dhcp-option-force=option:classless-static-route,"+c.want, strings.Join(b.dhcp4Args(), " "); !strings.Contains(args+" ", want+" ") {
			t.Errorf("%s: %s", c.text, args)
		}
	}
	b.Gateway4, b.NoGateway4 = netip.Addr{}, false
	for text, want := range map[string]string{
		"192.0.2.0/24,10.9.9.9":                      "the gateway 10.9.9.9 of the route to 192.0.2.0/24 is no host's address in the subnet 10.1.2.0/24",
		"192.0.2.0/24,10.1.2.3,192.0.2.0/24,0.0.0.0": "two routes to 192.0.2.0/24",
	} {
		b.StaticRoutes4, _ = ParseStaticRoutes(text)
		if err := b.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParseStaticRoutes(f *testing.F) {
	f.Add("192.0.2.0/24,10.1.2.3,198.51.100.0/24,0.0.0.0")
	f.Fuzz(func(t *testing.T, text string) {
		routes, err := ParseStaticRoutes(text)
		if err != nil {
			return
		}
		if len(routes)*2 != strings.Count(text, ",")+1 {
			t.Errorf("%q: %v", text, routes)
		}
		for _, r := range routes {
			if !r.To.Addr().Is4() || r.To != r.To.Masked() || !r.Gateway.Is4() {
				t.Errorf("%q: %v", text, r)
			}
		}
	})
}
