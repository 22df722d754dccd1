package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

// rulesOf are those in nftables for an interface, as nft shows them; empty when there are none.
func rulesOf(t *testing.T, link string) string {
	t.Helper()
	var all strings.Builder
	for _, family := range []string{"inet", "netdev"} {
		out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "nft", "list", "table", family, "poolctl_"+link).Output()
		if err == nil {
			all.Write(out)
		}
	}
	return all.String()
}

// nft changes the rules as somebody else does.
func nft(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}

// TestRulesComeBack: another program takes all rules away (`systemctl restart nftables` does) while an instance runs, or only what is
// in its tables. Those of its network, of its own interface and of its proxy device come back without any command, and doctor
// tells of them.
func TestRulesComeBack(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("create", "--template", "busybox", "c1")
	h.ok("start", "c1")
	h.ok("config", "device", "add", "c1", "eth1", "nic", "network="+h.bridge, "security.mac_filtering=true")
	subnet, err := netip.ParsePrefix(strings.TrimSpace(h.ok("network", "get", h.bridge, "ipv4.address")))
	if err != nil {
		t.Fatal(err)
	}
	h.ok("config", "device", "override", "c1", "eth0", "ipv4.address="+subnet.Addr().Next().Next().String())
	h.ok("config", "device", "add", "c1", "web", "proxy", fmt.Sprintf("listen=tcp:%s:80", subnet.Addr()), "connect=tcp:0.0.0.0:80", "nat=true")

	filtered, published := strings.TrimSpace(h.ok("config", "get", "c1", "volatile.eth1.host_name")), strings.TrimSpace(h.ok("config", "get", "c1", "volatile.eth0.host_name"))
	type rules struct{ what, link, table, chain, told, want string }
	all := []rules{
		{"network", h.bridge, "inet poolctl_" + h.bridge, "postrouting", "its firewall rules are not there as they should be", rulesOf(t, h.bridge)},
		{"interface", filtered, "netdev poolctl_" + filtered, "ingress", "the firewall rules of eth1 are not there as they should be", rulesOf(t, filtered)},
		{"proxy device", published, "inet poolctl_" + published, "output", "the firewall rules of its proxy devices are not there as they should be", rulesOf(t, published)},
	}
	wrong := func() (list []string) {
		for _, r := range all {
			if got := rulesOf(t, r.link); got != r.want {
				list = append(list, r.what+": "+got)
			}
		}
		return list
	}
	for _, spoil := range []string{"delete table TABLE", "flush table TABLE", "insert rule TABLE CHAIN accept"} {
		for _, r := range all {
			if r.want == "" {
				t.Fatalf("the %s has no rules", r.what)
			}
			nft(t, strings.NewReplacer("TABLE", r.table, "CHAIN", r.chain).Replace(spoil))
		}
		h.until("after nft "+spoil+" the rules are as they were", func() bool { return len(wrong()) == 0 })
	}
	told := map[string]bool{}
	for range 20 { // a supervisor may be faster
		for _, r := range all {
			nft(t, "flush table "+r.table)
		}
		out := h.run("doctor").stdout
		for _, r := range all {
			told[r.what] = told[r.what] || strings.Contains(out, r.told)
		}
		if told["network"] && told["interface"] && told["proxy device"] {
			break
		}
	}
	for _, r := range all {
		if !told[r.what] {
			t.Errorf("doctor does not tell of the rules of the %s", r.what)
		}
		nft(t, "flush table "+r.table)
	}
	h.ok("doctor", "--fix")
	if list := wrong(); len(list) > 0 {
		t.Errorf("after doctor --fix the rules are not as they were: %s", list)
	}
	h.ok("doctor")
	h.ok("delete", "--force", "c1")
	for _, link := range []string{filtered, published} {
		if got := rulesOf(t, link); got != "" {
			t.Errorf("rules outlive their interface:\n%s", got)
		}
	}
}
