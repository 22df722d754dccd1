package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outside is somebody in a network namespace of their own, 198.18.77.2 and fd77:77::2, whom the caller's namespace reaches
// as 198.18.77.1 and fd77:77::1 over a link of the given name. On port 7000 they answer with the address that the client
// has for them. It returns the path of the namespace.
func outside(t *testing.T, link string) (ns string) {
	t.Helper()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	type made struct {
		ns  string
		err error
	}
	ready, end, gone := make(chan made, 1), make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(end); <-gone; _ = home.Close() })
	go func() {
		defer close(gone)
		runtime.LockOSThread() // the thread, and its namespace, end with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			ready <- made{err: err}
			return
		}
		ns := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		homeNS := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), home.Fd())
		for _, c := range [][]string{
			{ns, "link", "add", "eth0", "type", "veth", "peer", "name", link},
			{ns, "link", "set", link, "netns", homeNS},
			{ns, "link", "set", "lo", "up"},
			{ns, "link", "set", "eth0", "up"},
			{ns, "address", "add", "198.18.77.2/24", "dev", "eth0"},
			{ns, "address", "add", "fd77:77::2/64", "dev", "eth0", "nodad"},
			{homeNS, "link", "set", link, "up"},
			{homeNS, "address", "add", "198.18.77.1/24", "dev", link},
			{homeNS, "address", "add", "fd77:77::1/64", "dev", link, "nodad"},
		} {
			if err == nil {
				err = ipIn(c[0], c[1:]...)
			}
		}
		var l net.Listener
		if err == nil {
			l, err = net.Listen("tcp", ":7000")
		}
		ready <- made{ns, err}
		if err != nil {
			return
		}
		go func() { <-end; _ = l.Close() }()
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				_ = ipIn(ns, "link", "delete", "eth0")
				return
			}
			if err == nil {
				_, _ = fmt.Fprintln(c, netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap())
				_ = c.Close()
			}
		}
	}()
	m := <-ready
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m.ns
}

// ipIn runs ip in a network namespace.
func ipIn(ns string, args ...string) error {
	out, err := exec.Command("nsenter", append([]string{"--net=" + ns, "ip"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

// TestNAT: an instance reaches the outside, which sees the host's address; without NAT its own; a published port leads
// to it; the host's rules and interfaces are as before when all is deleted.
func TestNAT(t *testing.T) {
	h := opHost(t)
	outside(t, "up"+h.bridge)
	h.ok("launch", "bb", "c1")
	h.matches(`^198\.18\.77\.1\n$`, "exec", "c1", "--", "nc", "-w", "5", "198.18.77.2", "7000")
	h.matches(`^fd77:77::1\n$`, "exec", "c1", "--", "nc", "-w", "5", "fd77:77::2", "7000")
	own := strings.TrimSpace(h.ok("list", "c1", "-c", "4", "--format", "csv"))
	own, _, _ = strings.Cut(own, " ")
	// The host's own port is published for the instance.
	h.ok("network", "forward", "create", h.bridge, "198.18.77.1")
	h.ok("network", "forward", "port", "add", h.bridge, "198.18.77.1", "tcp", "7001", own, "7002")
	h.matches(`^1,198\.18\.77\.1\n$`, "network", "forward", "list", h.bridge, "--format", "csv", "-c", "pl")
	h.ok("exec", "c1", "--", "sh", "-c", "echo published | nc -l -p 7002 >/dev/null 2>&1 &")
	var c net.Conn
	var err error
	for range 100 { // until it listens
		if c, err = net.Dial("tcp", "198.18.77.1:7001"); !errors.Is(err, unix.ECONNREFUSED) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 20)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "published\n" {
		t.Errorf("through the forward comes %q, %v", buf[:n], err)
	}
	_ = c.Close()
	h.fails(1, `listened to twice`, "network", "forward", "port", "add", h.bridge, "198.18.77.1", "tcp", "7000-7005", own)
	h.fails(1, `no instance's address on the network`, "network", "forward", "port", "add", h.bridge, "198.18.77.1", "tcp", "1", "192.0.2.1")
	h.fails(1, `already exists`, "network", "forward", "create", h.bridge, "198.18.77.1")
	web := func(listen string, keys ...string) []string {
		return append([]string{"config", "device", "add", "c1", "web", "proxy", "listen=" + listen, "connect=tcp:0.0.0.0:7002"}, keys...)
	}
	has := `device web: forward 198\.18\.77\.1 of network ` + h.bridge + ` has tcp port 7001\nhint: poolctl network forward show`
	h.fails(1, has, web("tcp:198.18.77.1:7001")...)
	h.fails(1, has, web("tcp:0.0.0.0:7000-7002")...)
	h.ok("config", "device", "override", "c1", "eth0", "ipv4.address="+own)
	h.fails(1, has, web("tcp:198.18.77.1:7001", "nat=true")...)
	h.ok("network", "forward", "port", "remove", h.bridge, "198.18.77.1", "tcp", "7001")
	h.ok(web("tcp:198.18.77.1:7001", "nat=true")...)
	listens := `forward 198\.18\.77\.1: device web of instance c1 listens on tcp port 7001`
	h.fails(1, listens, "network", "forward", "port", "add", h.bridge, "198.18.77.1", "tcp", "7000-7005", own)
	h.fails(1, listens, "network", "forward", "set", h.bridge, "198.18.77.1", "target_address="+own)
	h.ok("network", "forward", "port", "add", h.bridge, "198.18.77.1", "udp", "7001", own)
	h.ok("config", "device", "remove", "c1", "web")
	h.ok("network", "forward", "delete", h.bridge, "198.18.77.1")
	if out, err := exec.Command("nft", "delete", "table", "inet", "poolctl_"+h.bridge).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r := h.run("doctor"); r.code != 1 || !strings.Contains(r.stdout, "its firewall rules are not there") {
		t.Errorf("doctor without the rules: exit %d\n%s", r.code, r.stdout)
	}
	h.ok("doctor", "--fix")
	h.matches(`^198\.18\.77\.1\n$`, "exec", "c1", "--", "nc", "-w", "5", "198.18.77.2", "7000")
	h.ok("delete", "--force", "c1")
	h.ok("profile", "device", "remove", "default", "eth0")
	h.ok("network", "delete", h.bridge)
	if out, err := exec.Command("nft", "list", "tables").CombinedOutput(); err != nil || strings.Contains(string(out), "poolctl_"+h.bridge) {
		t.Errorf("rules stay: %v\n%s", err, out)
	}
	h.bridge = ""
}
