package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// networkOps change a network while an instance runs on it: whatever happens, the record, the bridge and the instance have
// the same subnet.
func networkOps() []op {
	br := fmt.Sprintf("pn%x", os.Getpid())
	return []op{plugOp(), {
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

// plugOp gives a running instance two interfaces and two proxy devices at once: it has all of them or none, and so has the
// host of what belongs to them.
func plugOp() op {
	br, port := fmt.Sprintf("pp%x", os.Getpid()), 23000+os.Getpid()%500
	return op{
		name: "plug", args: []string{"profile", "add", "cp", "plugged"}, every: 2,
		prepare: func(h *host) {
			if slices.Contains(h.names("network", "list"), br) {
				return
			}
			h.ok("network", "create", br, "ipv6.address=none")
			subnet := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
			h.okStdin(fmt.Sprintf(`devices:
  eth6: {type: nic, network: %s, ipv4.address: %s, security.mac_filtering: "true"}
  pair: {type: nic, nictype: p2p, name: pair0}
  user: {type: proxy, listen: "tcp:127.0.0.1:%d", connect: "tcp:127.0.0.1:80"}
  kernel: {type: proxy, listen: "tcp:%s:%d", connect: "tcp:0.0.0.0:80", nat: "true"}
`, br, subnet.Addr().Next(), port, subnet.Addr(), port), "profile", "create", "plugged")
			h.ok("launch", "bb", "cp")
		},
		verify: func(h *host) {
			want := 0
			if slices.Contains(h.instances()["cp"].Profiles, "plugged") {
				want = 1
			}
			inside := h.ok("exec", "cp", "--", "ip", "link")
			tables, err := exec.Command("nft", "list", "tables").CombinedOutput()
			if err != nil {
				h.t.Fatalf("nft: %v: %s", err, tables)
			}
			ports, err := os.ReadDir("/sys/class/net/" + br + "/brif")
			if err != nil {
				h.t.Fatal(err)
			}
			name := strings.TrimSpace(h.ok("config", "get", "cp", "volatile.eth6.host_name"))
			rules := 0
			for _, family := range []string{"inet", "netdev"} {
				if name != "" && strings.Contains(string(tables), "table "+family+" poolctl_"+name+"\n") {
					rules++
				}
			}
			listens := 0
			c, derr := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if derr == nil {
				_ = c.Close()
			}
			if derr == nil || errors.Is(derr, syscall.ECONNRESET) { // nobody listens inside, which the proxy passes on as a reset: at once, or later
				listens++
			}
			leases := strings.Count(h.ok("network", "list-leases", br, "--format", "csv"), "cp,")
			got := []int{strings.Count(inside, " eth6@"), strings.Count(inside, " pair0@"), len(ports), rules / 2, listens, leases}
			if !slices.Equal(got, []int{want, want, want, want, want, want}) {
				h.t.Errorf("with the profile: %d; interfaces, ports, rules, listeners and leases are %v (%v):\n%s%s", want, got, derr, inside, tables)
			}
			h.ok("delete", "--force", "cp")
			h.ok("profile", "delete", "plugged")
			h.ok("network", "delete", br)
		},
	}
}
