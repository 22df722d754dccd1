package e2e

import (
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestNetworkChange: an instance and its network have the same subnet, whoever is at work on both at the same time.
func TestNetworkChange(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	h.ok("create", "--template", "busybox", "c1")
	same := func() {
		t.Helper()
		p := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
		out := h.ok("exec", "c1", "--", "ip", "addr", "show", "dev", "eth0")
		m := regexp.MustCompile(`inet ([0-9.]+)/24`).FindAllStringSubmatch(out, -1)
		if len(m) != 1 || !p.Contains(netip.MustParseAddr(m[0][1])) || !strings.Contains(out, "mtu 1500") || strings.Count(out, "inet6 fd42:") != 1 {
			t.Errorf("the network is %s, and the instance has:\n%s", p, out)
		}
	}

	// A change is killed before it is recorded, and the supervisor brings the recorded network up before the next command comes.
	h.ok("start", "c1")
	was := strings.TrimSpace(h.ok("network", "get", br, "ipv4.address"))
	h.crashy(op{args: []string{"network", "set", br, "ipv4.address=auto", "ipv6.address=none", "ipv6.nat=", "bridge.mtu=1400"}}, "POOLCTL_CRASH=network.set.applied")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ip", "-4", "addr", "show", "dev", br).CombinedOutput()
		if err != nil {
			t.Fatalf("ip: %v: %s", err, out)
		}
		if strings.Contains(string(out), "inet "+was+" ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the supervisor has not brought %s up again: %s", was, out)
		}
	}
	same()

	// A start at the same time.
	for range 3 {
		h.ok("stop", "--force", "c1")
		if results := h.together([]string{"start", "c1"}, []string{"network", "set", br, "ipv4.address=auto"}); succeeded(results) != 2 {
			t.Fatalf("%v", results)
		}
		same()
	}
	h.ok("delete", "--force", "c1")
}
