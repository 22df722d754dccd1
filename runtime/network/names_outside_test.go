package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// TestNamesOutside: an instance finds names that the host's resolver knows, which is not asked for the network's own.
func TestNamesOutside(t *testing.T) {
	runtime.LockOSThread() // for good: the thread keeps its mounts
	if err := fixtures.OwnMounts(); err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.101.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff|1)
	const want = "192.0.2.91"
	upstream(t, at, want)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+at+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(conf, 0o644); err != nil { // dnsmasq is not root
		t.Fatal(err)
	}
	if err := unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, true)
	n := testNIC(t, b, "web")
	if err := Attach(t.Context(), n, pid); err != nil {
		t.Fatal(err)
	}
	for _, server := range []netip.Addr{b.IPv4.Addr(), b.IPv6.Addr()} {
		out, err := in(t, pid, "busybox", "nslookup", "-type=a", "name.outside.test", server.String())
		if err != nil || !slices.Contains(strings.Fields(out), want) {
			t.Errorf("name.outside.test, asked of %s: want %s, got %v: %s", server, want, err, out)
		}
	}
	if addrs, err := resolver(b).LookupHost(t.Context(), "none.lxd."); err == nil {
		t.Errorf("the host's resolver was asked for a name of the network: %v", addrs)
	}
}

// upstream is a DNS server that has one address for all names below outside.test, and for all of the networks' domain.
func upstream(t *testing.T, at, answer string) {
	t.Helper()
	path, err := findDnsmasqProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=root",
		"--listen-address="+at, "--bind-interfaces", "--address=/outside.test/"+answer, "--address=/lxd/"+answer)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, 5*time.Second, func() string {
		c, err := net.Dial("tcp", net.JoinHostPort(at, "53"))
		if err == nil {
			_ = c.Close()
		}
		return errText(err)
	})
}
