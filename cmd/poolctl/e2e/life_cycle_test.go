package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNetworkLifeCycle: instances with nics of every kind, proxy devices and forwards, on networks and on links of the host's,
// started, changed, stopped and deleted: what they may not send is dropped, they are reached where they should be, and at the
// end the host has the links, addresses, routes and rules that it had.
func TestNetworkLifeCycle(t *testing.T) {
	ownNetwork(t)
	beyond := outside(t, "up0")
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("link", "add", "wire0", "type", "veth", "peer", "name", "wire1")
	ip("link", "add", "ext0", "type", "veth", "peer", "name", "ext1")
	// A bridge with a port of its own: one without any has no carrier, and one without an address takes its ports'.
	ip("link", "add", "hostbr0", "address", "02:00:00:00:00:01", "type", "bridge")
	ip("link", "add", "port0", "master", "hostbr0", "type", "veth", "peer", "name", "port1")
	for _, l := range []string{"wire0", "wire1", "ext0", "ext1", "port0", "port1", "hostbr0"} {
		ip("link", "set", l, "up")
	}
	for file, v := range map[string]string{"ipv4/conf/up0/forwarding": "1", "ipv6/conf/up0/proxy_ndp": "1", "bridge/bridge-nf-call-iptables": "1"} {
		if err := os.WriteFile("/proc/sys/net/"+file, []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var before string
	settled := func() bool { // duplicate address detection is done
		before = networkNow(t)
		return !strings.Contains(before, "tentative") && strings.Contains(before, "fe80::/64 dev hostbr0 proto kernel metric 256 pref")
	}
	h := newHost(t)
	h.until("the links are up", settled)
	h.withPool()
	t.Cleanup(func() { // when it fails before that
		h.run("delete", "--force", "c1", "c2")
		h.run("network", "delete", "second")
	})
	h.ok("network", "create", "second", "ipv4.address=10.222.3.1/24", "ipv6.address=none", "ipv4.routes=203.0.113.0/24", "bridge.external_interfaces=ext0", "ipv4.dhcp.routes=192.0.2.0/24,10.222.3.9", "ipv4.dhcp.gateway=none") // the default route is by eth0
	subnet := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", h.bridge, "ipv4.address")))
	at := func(n byte) string {
		b := subnet.Addr().As4()
		b[3] = n
		return netip.AddrFrom4(b).String()
	}
	h.ok("network", "forward", "create", h.bridge, "198.18.77.1")
	h.ok("network", "forward", "port", "add", h.bridge, "198.18.77.1", "tcp", "7100-7110", at(50), "7100-7110")

	h.ok("create", "--template", "busybox", "c1")
	device := func(name, kind string, keys ...string) {
		t.Helper()
		h.ok(append([]string{"config", "device", "add", "c1", name, kind}, keys...)...)
	}
	h.ok("create", "--template", "busybox", "c2")
	h.ok("config", "device", "add", "c2", "eth0", "none")
	h.ok("start", "c2")
	h.ok("config", "device", "override", "c1", "eth0", "ipv4.address="+at(50), "security.mac_filtering=true", "security.ipv4_filtering=true", "security.ipv6_filtering=true")
	device("second", "nic", "network=second", "name=eth1", "limits.max=100Mbit", "ipv4.routes=203.0.113.128/25")
	device("wire", "nic", "nictype=physical", "parent=wire0", "name=wire")
	device("mac", "nic", "nictype=macvlan", "parent=wire1", "name=mac")
	device("host", "nic", "nictype=bridged", "parent=hostbr0", "name=host")
	h.ok("start", "c1")
	// The rest while it runs.
	device("pair", "nic", "nictype=p2p", "name=pair", "ipv4.routes=198.51.100.0/24", "limits.egress=50Mbit")
	h.ok("config", "device", "add", "c2", "routed", "nic", "nictype=routed", "parent=up0", "ipv4.address=198.18.77.50", "ipv6.address=fd77:77::50")
	device("user", "proxy", "listen=tcp:198.18.77.1:8000", "connect=tcp:127.0.0.1:80")
	device("file", "proxy", "listen=unix:"+h.dir+"/web", "connect=tcp:127.0.0.1:80")
	device("kernel", "proxy", fmt.Sprintf("listen=tcp:%s:8001", subnet.Addr()), "connect=tcp:0.0.0.0:80", "nat=true")
	h.ok("doctor")

	// Who is beyond a routed one's parent reaches it: the host answers for its addresses, which are seen beyond as they are.
	for own, other := range map[string]string{"198.18.77.50": "198.18.77.2", "fd77:77::50": "fd77:77::2"} {
		h.until(own+" answers", func() bool { return exec.Command("nsenter", "--net="+beyond, "ping", "-c1", "-W2", own).Run() == nil })
		h.matches("^"+own+"\\n$", "exec", "c2", "--", "nc", "-w", "5", other, "7000")
	}
	// Bridges hand packets to iptables here: each port can be led back to itself, however it came.
	hairpin := func(instance, n, want string) {
		t.Helper()
		name := strings.TrimSpace(h.ok("config", "get", instance, "volatile."+n+".host_name"))
		text, err := os.ReadFile("/sys/class/net/" + name + "/brport/hairpin_mode")
		if err != nil || string(text) != want+"\n" {
			t.Errorf("hairpin mode of %s is %q, %v", n, text, err)
		}
	}
	hairpin("c1", "eth0", "1")
	hairpin("c1", "second", "0")
	h.ok("config", "device", "add", "c2", "late", "nic", "network="+h.bridge, "name=late")
	hairpin("c2", "late", "1")
	h.ok("exec", "c1", "--", "sh", "-c", "nc -ll -p 7100 -e /bin/hostname >/dev/null 2>&1 &")
	h.eventually(`^c1\n$`, "exec", "c1", "--", "nc", "-w", "2", "198.18.77.1", "7100")
	spoofs(h, at(77), subnet.Addr().String())

	// An interface of the host's leaves a bridge in use, and joins it.
	external := func(want string) {
		t.Helper()
		if master, _ := os.Readlink("/sys/class/net/ext0/master"); filepath.Base(master) != want {
			t.Errorf("ext0 is on %s, want %s", master, want)
		}
	}
	external("second")
	h.ok("network", "unset", "second", "bridge.external_interfaces")
	external(".")
	h.ok("network", "set", "second", "bridge.external_interfaces=ext0")
	external("second")
	h.fails(1, `the host has no interface nope0`, "network", "set", "second", "bridge.external_interfaces=ext0,nope0")
	h.fails(1, `up0 has the address 198\.18\.77\.1/24`, "network", "set", "second", "bridge.external_interfaces=up0")
	external("second")

	h.ok("delete", "--force", "c1", "c2")
	h.ok("network", "forward", "delete", h.bridge, "198.18.77.1")
	h.ok("profile", "device", "remove", "default", "eth0")
	h.ok("network", "delete", "second")
	h.ok("network", "delete", h.bridge)
	h.bridge = ""
	after := ""
	h.until("nothing of it is left, or it differs", func() bool {
		after = networkNow(t)
		return after == before || !strings.Contains(after, "tentative") && strings.Contains(after, "fe80::/64 dev wire0") && !strings.Contains(after, "second")
	})
	if d := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); d != "" {
		t.Errorf("the host's network is another one than before:\n%s", d)
	}

	// A link that is gone is told of.
	h.ok("create", "--template", "busybox", "c2")
	h.ok("config", "device", "add", "c2", "mac", "nic", "nictype=macvlan", "parent=wire1")
	ip("link", "delete", "wire0")
	if r := h.run("doctor"); !strings.Contains(r.stdout, "the host has no interface wire1 any more, which its device mac is on: it cannot start") {
		t.Errorf("doctor does not tell: %s", r)
	}
	ip("link", "delete", "ext0")
	ip("link", "delete", "port0")
	ip("link", "delete", "hostbr0")
}

// spoofs sends from c1 with addresses that are not its own, over eth0 with all filters: nothing of it arrives, and with its
// own all does. Without the filters it would.
func spoofs(h *host, other4, gateway4 string) {
	h.t.Helper()
	gateway6, _, _ := strings.Cut(strings.TrimSpace(h.ok("network", "get", h.bridge, "ipv6.address")), "/")
	other6 := strings.TrimSuffix(gateway6, "1") + "77"
	h.ok("exec", "c1", "--", "sh", "-c", "ip addr add "+other4+"/24 dev eth0; ip -6 addr add "+other6+"/64 dev eth0")
	h.until("duplicate address detection is done", func() bool {
		return !strings.Contains(h.ok("exec", "c1", "--", "ip", "addr", "show", "eth0"), "tentative")
	})
	own := strings.Fields(h.ok("exec", "c1", "--", "cat", "/sys/class/net/eth0/address"))[0]
	arrives := func(from, to string) bool {
		return h.run("exec", "c1", "--", "ping", "-c1", "-W1", "-I", from, to).code == 0
	}
	mac := func(address string) {
		h.ok("exec", "c1", "--", "ip", "link", "set", "eth0", "address", address)
	}
	check := func(want bool) {
		h.t.Helper()
		arrives := func(from, to string) bool { // the first one may be lost: the host has to find the address
			passed := arrives(from, to)
			for again := 0; again < 3 && want && !passed; again++ {
				passed = arrives(from, to)
			}
			return passed
		}
		if !arrives("eth0", gateway4) {
			h.t.Error("its own address does not pass")
		}
		if got := arrives(other4, gateway4); got != want {
			h.t.Errorf("from %s: %v", other4, got)
		}
		if got := arrives(other6, gateway6); got != want {
			h.t.Errorf("from %s: %v", other6, got)
		}
		mac("00:16:3e:99:99:99")
		if got := arrives("eth0", gateway4); got != want {
			h.t.Errorf("with another hardware address: %v", got)
		}
		mac(own)
	}
	check(false)
	h.ok("config", "device", "set", "c1", "eth0", "security.mac_filtering=", "security.ipv4_filtering=", "security.ipv6_filtering=")
	check(true)
}
