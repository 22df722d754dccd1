package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debianRoot copies the prepared Debian 12 with systemd that
// POOLCTL_TEST_DEBIAN names, or /var/tmp/poolctl-test-debian: made by
// debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,ifupdown,isc-dhcp-client bookworm DIR
func debianRoot(t testing.TB) string {
	t.Helper()
	src := os.Getenv("POOLCTL_TEST_DEBIAN")
	if src == "" {
		src = "/var/tmp/poolctl-test-debian"
	}
	if _, err := os.Stat(filepath.Join(src, "lib/systemd/systemd")); err != nil {
		t.Fatalf("a Debian root filesystem with systemd is required (POOLCTL_TEST_DEBIAN): %v", err)
	}
	root := filepath.Join(t.TempDir(), "rootfs")
	if out, err := exec.Command("cp", "-a", "--reflink=auto", src, root).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy %s: %v: %s", src, err, out)
	}
	return root
}

// TestDebian boots systemd to "running" or "degraded", and stops it cleanly in
// less than 10 s.
func TestDebian(t *testing.T) {
	s := testSpec(t, debianRoot(t))
	begin := time.Now()
	inst := start(t, s)
	t.Logf("started in %v", time.Since(begin))
	var state string
	eventually(t, "systemd has booted", 60*time.Second, func() bool {
		out, _ := run(t, inst, "", "systemctl", "is-system-running")
		state = strings.TrimSpace(out)
		return state == "running" || state == "degraded"
	})
	t.Logf("%s after %v", state, time.Since(begin))
	if state == "degraded" {
		out, _ := run(t, inst, "", "systemctl", "--failed", "--no-legend")
		t.Logf("failed units:\n%s", out)
	}
	// A service of systemd's own cgroup, started by a command that is in none.
	out, code := run(t, inst, "", "systemd-run", "--wait", "--pipe", "--quiet", "cat", "/proc/self/cgroup")
	if code != 0 || !strings.Contains(out, "system.slice/run-") {
		t.Errorf("systemd-run: exit code %d:\n%s", code, out)
	}
	begin = time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Timeout: patient(10 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(begin))
}
