package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// The process's first thread stays as it is, whose view of the machine /proc/self shows: no test runs on it.
func init() { runtime.LockOSThread() }

// ownNetwork has the test, and all commands that it runs, in a network namespace of its own, where nobody else makes links or
// rules. It is for the whole test: its thread ends with it.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// /sys shows the namespace in which it was mounted, so that another one is mounted, with the cgroups of this one.
	must(unix.Unshare(unix.CLONE_NEWNET))
	must(fixtures.OwnMounts())
	cgroups := filepath.Join(t.TempDir(), "cgroup")
	must(os.Mkdir(cgroups, 0o700))
	must(unix.Mount("/sys/fs/cgroup", cgroups, "", unix.MS_BIND|unix.MS_REC, ""))
	must(unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""))
	must(unix.Mount(cgroups, "/sys/fs/cgroup", "", unix.MS_MOVE, ""))
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"}, // poolctl leaves them on
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}

// networkNow is all that the network namespace has: links, addresses, routes, routing rules and nftables'.
func networkNow(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, command := range []string{
		"ip link", "ip addr", "ip -4 route show table all", "ip -6 route show table all", "ip -4 rule", "ip -6 rule", "ip neigh show proxy", "ip -6 neigh show proxy", "bridge link", "nft list ruleset",
	} {
		words := strings.Fields(command)
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		lines := strings.Split(string(out), "\n")
		if strings.Contains(command, "route") { // those of the same place are in the order in which they were made
			slices.Sort(lines)
		}
		all.WriteString("# " + command + "\n" + strings.Join(lines, "\n") + "\n")
	}
	return all.String()
}
