package e2e

import (
	"slices"
	"strings"
	"testing"

	"poolctl/runtime/network/firewall"
)

// TestRulesComeBack: another program flushes all rules (`systemctl restart nftables` does) while an instance runs. Those of its
// network and of its own interface come back without any command, and doctor tells of them.
func TestRulesComeBack(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("create", "--template", "busybox", "c1")
	h.ok("config", "device", "add", "c1", "eth1", "nic", "network="+h.bridge, "security.mac_filtering=true")
	h.ok("start", "c1")
	links := []string{h.bridge, strings.TrimSpace(h.ok("config", "get", "c1", "volatile.eth1.host_name"))}
	there := func() bool {
		have, err := firewall.Links()
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(links, func(l string) bool { return !slices.Contains(have, l) })
	}
	if !there() {
		t.Fatalf("no rules of %v", links)
	}
	flush := func(links ...string) {
		t.Helper()
		for _, l := range links {
			if err := firewall.Remove(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush(links...)
	h.until("both have their rules again", there)
	flush(links[1])
	h.until("the interface has its rules again", there)
	flush(links[0])
	h.until("the network has its rules again", there)
	told := false
	for range 20 { // a supervisor may be faster
		flush(links[1])
		if r := h.run("doctor"); strings.Contains(r.stdout, "the firewall rules of eth1 are not there as they should be") {
			told = true
			break
		}
	}
	if !told {
		t.Error("doctor does not tell of an interface's rules")
	}
	h.until("the interface has its rules again", there)
	h.ok("doctor")
	h.ok("delete", "--force", "c1")
	if there() {
		t.Errorf("the rules of %v outlive it", links)
	}
}
