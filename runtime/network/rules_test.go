package network

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// rulesOf are the firewall rules of a network or of an interface, as nft shows
// them: "" when there are none.
func rulesOf(t testing.TB, link string) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	var rules string
	for part := range strings.SplitSeq(string(out), "\ntable ") {
		if _, name, _ := strings.Cut(strings.TrimPrefix(part, "table "), " "); strings.HasPrefix(name, "poolctl_"+link+" ") {
			rules += part
		}
	}
	return rules
}

// TestRules: Up sets the rules and sets them again when somebody flushed them;
// the kernel forwards; Down leaves none; a foreign bridge's are left alone.
func TestRules(t *testing.T) {
	b := testBridge(t)
	b.NAT4, b.Firewall4, b.Firewall6, b.Routing4, b.Routing6, b.Isolated = true, true, true, true, true, true
	mustUp(t, b)
	first := rulesOf(t, b.Name)
	if !strings.Contains(first, "masquerade") || !strings.Contains(first, "isolation") {
		t.Errorf("rules:\n%s", first)
	}
	for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if data, err := os.ReadFile("/proc/sys/net/" + path); err != nil || string(data) != "1\n" {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	if kept, err := b.RulesKept(); err != nil || !kept {
		t.Errorf("kept %v, %v", kept, err)
	}
	start := time.Now()
	if err := b.rules().Apply(); err != nil {
		t.Error(err)
	}
	t.Logf("unchanged rules took %v", time.Since(start))
	if out, err := exec.Command("nft", "delete", "table", "inet", "poolctl_"+b.Name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if kept, err := b.RulesKept(); err != nil || kept {
		t.Errorf("after the deletion kept %v, %v", kept, err)
	}
	mustUp(t, b)
	if again := rulesOf(t, b.Name); again != first {
		t.Errorf("rules after they were deleted:\n%s\nbefore:\n%s", again, first)
	}
	// Somebody else's network of that name.
	other := b
	other.Dir = t.TempDir()
	if err := other.Down(t.Context()); err != nil {
		t.Error(err)
	}
	if again := rulesOf(t, b.Name); again != first {
		t.Errorf("another network's Down changes the rules:\n%s", again)
	}
	b.NAT4, b.Firewall4, b.Firewall6 = false, false, false
	mustUp(t, b)
	if left := rulesOf(t, b.Name); left != "" {
		t.Errorf("rules although none are wanted:\n%s", left)
	}
	b.NAT4 = true
	mustUp(t, b)
	if err := b.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := rulesOf(t, b.Name); left != "" {
		t.Errorf("rules after Down:\n%s", left)
	}
}

// TestIsolated: instances of two networks do not reach each other, but the host.
func TestIsolated(t *testing.T) {
	a, b := testBridge(t), testBridge(t)
	reach := func(isolated bool) error {
		a.Isolated, a.Firewall4, a.Routing4 = isolated, true, true
		mustUp(t, a)
		b.Routing4 = true
		mustUp(t, b)
		pids := make([]int, 2)
		nics := make([]NIC, 2)
		for i, br := range []Bridge{a, b} {
			pids[i] = guest(t, false)
			nics[i] = testNIC(t, br, fmt.Sprintf("c%d", i))
			if err := Attach(t.Context(), nics[i], pids[i]); err != nil {
				t.Fatal(err)
			}
		}
		mustIn(t, pids[0], "ping", "-c1", "-W2", a.IPv4.Addr().String())
		_, err := in(t, pids[0], "ping", "-c1", "-W1", nics[1].IPv4.Addr().String())
		return err
	}
	if reach(true) == nil {
		t.Error("an instance reaches another network")
	}
	if err := reach(false); err != nil {
		t.Errorf("an instance does not reach another network that is open: %v", err)
	}
}
