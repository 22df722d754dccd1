package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
)

// networkOps change a network while an instance runs on it: whatever happens, the record, the bridge and the instance have
// the same subnet.
func networkOps() []op {
	br := fmt.Sprintf("pn%x", os.Getpid())
	return []op{{
		name: "network set", args: []string{"network", "set", br, "ipv4.address=auto", "ipv6.address=none", "ipv6.nat=", "bridge.mtu=1400"},
		prepare: func(h *host) {
			if !slices.Contains(h.names("network", "list"), br) {
				h.ok("network", "create", br)
				h.ok("create", "bb", "cn")
				h.ok("config", "device", "add", "cn", "eth5", "nic", "network="+br)
				h.ok("start", "cn")
			}
		},
		verify: func(h *host) {
			p := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
			h.matches(`inet\t`+regexp.QuoteMeta(p.Addr().String())+`/24`, "network", "info", br)
			out := h.ok("exec", "cn", "--", "ip", "-4", "addr", "show", "dev", "eth5")
			m := regexp.MustCompile(`mtu (\d+)(?s:.*)inet ([0-9.]+)/24`).FindStringSubmatch(out)
			if m == nil || !p.Contains(netip.MustParseAddr(m[2])) || (strings.TrimSpace(h.ok("network", "get", br, "bridge.mtu")) == "1400") != (m[1] == "1400") {
				h.t.Errorf("the network is %s, and the instance has:\n%s", p, out)
			}
			h.ok("delete", "--force", "cn")
			h.ok("network", "delete", br)
		},
	}}
}
