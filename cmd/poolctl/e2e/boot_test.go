package e2e

import (
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestRealAlpine boots every real Alpine image: openrc as PID 1's work, IPv4 and IPv6, a clean stop.
func TestRealAlpine(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, realMirror, fixtures.ServeOptions{}))
	var images []struct{ Fingerprint, Architecture string }
	h.json(&images, "image", "list", "m:")
	if len(images) < 3 {
		t.Fatalf("want three images: %v", images)
	}
	for _, im := range images {
		t.Run(im.Fingerprint[:12], func(t *testing.T) {
			h.in(t)
			name := "a-" + im.Fingerprint[:8]
			h.ok("launch", "m:"+im.Fingerprint, name)
			h.matches(`(?m)^ *1 root .*init`, "exec", name, "--", "ps")
			h.eventually(`RUNNING +\| [0-9.]+ \(eth0\) +\| fd[0-9a-f:]+ \(eth0\)`, "list", name)
			// openrc's own note of the runlevel that it has reached.
			h.eventually(`^default\n?$`, "exec", name, "--", "cat", "/run/openrc/softlevel")
			if out := h.ok("exec", name, "--", "cat", "/etc/hostname"); strings.TrimSpace(out) != name {
				t.Errorf("/etc/hostname: %q", out)
			}
			began := time.Now()
			h.ok("stop", name)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the clean stop took %s", took)
			}
			h.ok("delete", name)
		})
	}
}

// TestDebian boots Debian 12 with systemd to the end, and stops it cleanly in under ten seconds.
func TestDebian(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, debianMirror, fixtures.ServeOptions{}))
	h.ok("launch", "m:debian", "deb")
	state := systemState(h, "deb")
	if state != "running" && state != "degraded" {
		t.Errorf("systemd is %q\n%s", state, h.run("exec", "deb", "--", "systemctl", "list-jobs"))
	}
	if failed := strings.TrimSpace(h.run("exec", "deb", "--", "systemctl", "--failed", "--plain", "--no-legend").stdout); failed != "" {
		t.Logf("%s because of:\n%s", state, failed)
	}
	h.matches(`(?m)^systemd$`, "exec", "deb", "--", "cat", "/proc/1/comm")
	h.eventually(`RUNNING +\| [0-9.]+ \(eth0\) +\| fd[0-9a-f:]+ \(eth0\)`, "list", "deb")
	began := time.Now()
	h.ok("stop", "deb")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the clean stop took %s", took)
	}
}

// systemState waits until systemd has started everything, and returns what it then says of itself.
func systemState(h *host, name string) string {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r := h.run("exec", name, "--", "systemctl", "is-system-running", "--wait")
		state := strings.TrimSpace(r.stdout)
		if state != "" && state != "offline" || time.Now().After(deadline) { // before its bus is there it says nothing, or that
			return state
		}
	}
}
