package pool

import (
	"net/netip"
	"testing"

	"poolctl/runtime/network/firewall"
	"poolctl/runtime/proxy"
)

func TestForwardTakes(t *testing.T) {
	one := netip.MustParseAddr("192.0.2.1")
	ports := firewall.Forward{Listen: one, Protocol: "tcp", Ports: firewall.PortRange{First: 80, Last: 90}}
	all := firewall.Forward{Listen: one}
	six := firewall.Forward{Listen: netip.MustParseAddr("2001:db8::1"), Protocol: "udp", Ports: firewall.PortRange{First: 53, Last: 53}}
	for _, c := range []struct {
		listen, bind string
		forward      firewall.Forward
		want         string
	}{
		{"tcp:192.0.2.1:80", "", ports, "tcp port 80"},
		{"tcp:192.0.2.1:79,90,91", "", ports, "tcp port 90"},
		{"tcp:0.0.0.0:85", "", ports, "tcp port 85"},
		{"tcp:[::]:85", "", ports, "tcp port 85"},
		{"tcp:192.0.2.1:79,91", "", ports, ""},
		{"tcp:192.0.2.2:80", "", ports, ""},
		{"udp:192.0.2.1:80", "", ports, ""},
		{"tcp:192.0.2.1:80", "instance", ports, ""},
		{"unix:/x", "", ports, ""},
		{"unix:/x", "", all, ""},
		{"udp:192.0.2.1:5", "", all, "udp port 5"},
		{"tcp:192.0.2.2:5", "", all, ""},
		{"udp:[2001:db8::1]:53", "", six, "udp port 53"},
		{"udp:[::]:53", "", six, "udp port 53"},
		{"udp:0.0.0.0:53", "", six, ""},
	} {
		listen, err := proxy.Parse(c.listen)
		if err != nil {
			t.Fatal(err)
		}
		what, yes := takes(c.forward, proxy.Device{Listen: listen, Inside: c.bind == "instance"})
		if what != c.want && yes || yes != (c.want != "") {
			t.Errorf("%s%s beside %+v: %q, %v", c.bind, c.listen, c.forward, what, yes)
		}
	}
}
