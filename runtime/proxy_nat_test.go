package runtime

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/runtime/network/firewall"
)

func TestForwardsOf(t *testing.T) {
	listen, target := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.2")
	forward := func(a, b, c, d uint16) firewall.Forward {
		return firewall.Forward{
			Listen: listen, Protocol: "tcp", Ports: firewall.PortRange{First: a, Last: b},
			Target: target, TargetPorts: firewall.PortRange{First: c, Last: d},
		}
	}
	for _, c := range []struct {
		from, to string
		want     []firewall.Forward
	}{
		{"80", "8080", []firewall.Forward{forward(80, 80, 8080, 8080)}},
		{"80-82", "8080", []firewall.Forward{forward(80, 82, 8080, 8080)}},
		{"80-82,90", "8080", []firewall.Forward{forward(80, 82, 8080, 8080), forward(90, 90, 8080, 8080)}},
		{"80-82", "8080-8082", []firewall.Forward{forward(80, 82, 8080, 8082)}},
		{"80-83", "8080,8081,9000,9001", []firewall.Forward{forward(80, 81, 8080, 8081), forward(82, 83, 9000, 9001)}},
		{"81,80", "8081,8080", []firewall.Forward{forward(81, 81, 8081, 8081), forward(80, 80, 8080, 8080)}},
	} {
		got := forwardsOf(device(t, "web", "tcp:192.0.2.1:"+c.from, "tcp:10.0.0.2:"+c.to))
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s to %s: %s", c.from, c.to, diff)
		}
		for _, f := range got {
			if err := f.Validate(); err != nil {
				t.Error(err)
			}
		}
	}
}
