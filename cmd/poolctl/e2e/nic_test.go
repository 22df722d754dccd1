package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"poolctl/runtime/network"
)

// hostNetwork is what `ip link` and `nft list ruleset` say, without others' test devices and rules: those
// whose name has what.
func hostNetwork(t *testing.T, what ...string) string {
	t.Helper()
	var out strings.Builder
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		for _, w := range what {
			if a := l.Attrs(); strings.Contains(a.Name, w) {
				fmt.Fprintln(&out, a.Index, a.Name, a.MTU, a.HardwareAddr, a.Flags&net.FlagUp)
			}
		}
	}
	rules, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, rules)
	}
	for _, line := range strings.Split(string(rules), "\n") {
		for _, w := range what {
			if strings.Contains(line, w) {
				fmt.Fprintln(&out, strings.TrimSpace(line))
			}
		}
	}
	return out.String()
}

// testLinks is a pair of interfaces of the host's, up.
func testLinks(t *testing.T) (parent, peer string) {
	t.Helper()
	id := strings.TrimPrefix(network.RandomHostName(), "veth")
	parent, peer = "ea"+id, "eb"+id
	attrs := netlink.NewLinkAttrs()
	attrs.Name = parent
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l, err := netlink.LinkByName(peer)
		if err == nil {
			err = netlink.LinkDel(l)
		}
		if err != nil {
			t.Error(err)
		}
	})
	for _, n := range []string{parent, peer} {
		l, err := netlink.LinkByName(n)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return parent, peer
}

// TestNICs: nics of all kinds, added, changed and removed while the instance runs, and back on the host whatever happens.
func TestNICs(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("create", "--template", "busybox", "c1")
	h.ok("create", "--template", "busybox", "c2")
	parent, peer := testLinks(t)
	before := hostNetwork(t, parent, peer)
	h.ok("start", "c1")
	inside := func(want string, args ...string) {
		t.Helper()
		h.matches(want, append([]string{"exec", "c1", "--"}, args...)...)
	}
	missing := func(name string) {
		t.Helper()
		h.ok("exec", "c1", "--", "sh", "-c", "! ip link show "+name)
	}
	subnet := regexp.MustCompile(`ipv4.address: ([0-9.]+)\.[0-9]+/24`).FindStringSubmatch(h.ok("network", "show", h.bridge))
	if subnet == nil {
		t.Fatal("the network has no IPv4 address")
	}
	three := subnet[1]

	// On the network, with an address of its own, which an image without a client has too.
	h.ok("config", "device", "add", "c1", "eth1", "nic", "network="+h.bridge, "ipv4.address="+three+".77", "limits.max=50Mbit", "security.mac_filtering=true")
	inside(three+`\.77/24`, "ip", "addr", "show", "eth1")
	inside(`default via .* dev eth0`, "ip", "route")
	h.matches(three+`\.77 \(eth1\)`, "list", "c1", "--format", "csv", "-c", "4")
	host := strings.TrimSpace(h.ok("config", "get", "c1", "volatile.eth1.host_name"))
	if hostNetwork(t, host) == "" || !strings.Contains(hostNetwork(t, host), "table netdev poolctl_"+host) {
		t.Errorf("no rules for %s: %s", host, hostNetwork(t, host))
	}
	h.ok("config", "device", "set", "c1", "eth1", "limits.max=", "mtu=1400", "security.mac_filtering=")
	inside(`mtu 1400`, "ip", "link", "show", "eth1")
	if strings.Contains(hostNetwork(t, host), "table") {
		t.Errorf("rules are left: %s", hostNetwork(t, host))
	}

	// What is wrong is refused, and changes nothing.
	config := h.ok("config", "show", "c1")
	for _, c := range []struct {
		want string
		keys []string
	}{
		{`192\.0\.2\.1 is not in `, []string{"network=" + h.bridge, "ipv4.address=192.0.2.1"}},
		{`is the address of network ` + h.bridge + ` itself`, []string{"network=" + h.bridge, "ipv4.address=" + three + ".1"}},
		{`is that of device eth1 of c1 already`, []string{"network=" + h.bridge, "ipv4.address=" + three + ".77"}},
		{`device eth1 is named eth1 inside already`, []string{"network=" + h.bridge, "name=eth1"}},
		{`hwaddr=zz`, []string{"network=" + h.bridge, "hwaddr=zz"}},
		{`invalid interface name`, []string{"network=" + h.bridge, "name=a/b"}},
		{`network "nope": not found`, []string{"network=nope"}},
		{`the host has no interface nope0`, []string{"nictype=macvlan", "parent=nope0"}},
		{`the host has no interface nope0`, []string{"nictype=physical", "parent=nope0"}},
		{`neither network nor nictype`, nil},
		{`mode is for nictype=macvlan`, []string{"network=" + h.bridge, "mode=bridge"}},
		{`unknown key "color"`, []string{"network=" + h.bridge, "color=red"}},
		{`a routed nic has no address`, []string{"nictype=routed"}},
		{`VLANs are not made by poolctl`, []string{"network=" + h.bridge, "vlan=5"}},
		{`not a number of bits`, []string{"network=" + h.bridge, "limits.max=fast"}},
		{`a default route`, []string{"network=" + h.bridge, "ipv4.routes=0.0.0.0/0"}},
	} {
		r := h.run(append([]string{"config", "device", "add", "c1", "bad", "nic"}, c.keys...)...)
		if r.code != 1 || !regexp.MustCompile(c.want).MatchString(r.stderr) {
			t.Errorf("%v: want %q: %s", c.keys, c.want, r)
		}
	}
	if after := h.ok("config", "show", "c1"); after != config {
		t.Errorf("changed:\n%s\nbefore:\n%s", after, config)
	}

	h.ok("config", "device", "remove", "c1", "eth1")
	missing("eth1")
	if show := h.ok("config", "show", "c1"); strings.Contains(show, "volatile.eth1") {
		t.Errorf("what eth1 was told by is left:\n%s", show)
	}
	if left := hostNetwork(t, host); left != "" {
		t.Errorf("left: %s", left)
	}

	// The other kinds.
	h.ok("config", "device", "add", "c1", "mac", "nic", "nictype=macvlan", "parent="+parent, "name=mac0")
	inside(`mac0@`, "ip", "link", "show", "mac0")
	h.ok("config", "device", "add", "c1", "p2p", "nic", "nictype=p2p", "name=p2p0", "ipv4.routes="+three+".128/32")
	inside(`p2p0@`, "ip", "link", "show", "p2p0")
	h.ok("config", "device", "add", "c1", "routed", "nic", "nictype=routed", "name=r0", "ipv4.address=198.51.100.77")
	inside(`198\.51\.100\.77/32`, "ip", "addr", "show", "r0")
	if out, err := exec.Command("ping", "-c1", "-W3", "198.51.100.77").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	h.ok("config", "device", "remove", "c1", "mac", "p2p", "routed")
	for _, n := range []string{"mac0", "p2p0", "r0"} {
		missing(n)
	}

	// An interface of the host's, by a profile, and back after each way to end.
	h.ok("profile", "create", "wire")
	h.ok("profile", "device", "add", "wire", "wire", "nic", "nictype=physical", "parent="+parent, "name=wire0")
	h.ok("profile", "add", "c1", "wire")
	inside(`wire0@`, "ip", "link", "show", "wire0")
	h.ok("profile", "add", "c2", "wire")
	h.fails(1, `the host has no interface `+parent, "start", "c2")
	h.ok("exec", "c1", "--", "ip", "link", "set", "wire0", "down")
	h.ok("exec", "c1", "--", "ip", "link", "set", "wire0", "name", "mine", "mtu", "1280")
	h.ok("stop", "--force", "c1")
	if after := hostNetwork(t, parent, peer); after != before {
		t.Errorf("after a stop:\n%s\nbefore:\n%s", after, before)
	}
	h.ok("start", "c1")
	inside(`wire0@`, "ip", "link", "show", "wire0")
	signal := func(sig unix.Signal, pids ...int) {
		t.Helper()
		for _, pid := range pids {
			if err := unix.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Another supervisor takes the place of a killed one, and is slow to clean up once init is killed, too: a start waits for it.
	pid, killed := h.instances()["c1"].State.PID, h.supervisorOf("c1")
	signal(unix.SIGKILL, killed)
	slow := 0
	h.until("another supervisor is there", func() bool {
		h.ok("list")
		var st struct {
			PID int `json:"supervisor_pid"`
		}
		data, err := os.ReadFile(filepath.Join(h.state, "run/instances/c1/state.json"))
		if err != nil || json.Unmarshal(data, &st) != nil {
			t.Fatalf("state.json: %v", err)
		}
		slow = st.PID
		return slow != killed
	})
	signal(unix.SIGSTOP, slow)
	signal(unix.SIGKILL, pid)
	h.eventually(`STOPPED`, "list", "c1")
	started := make(chan result, 1)
	go func() { started <- h.run("start", "c1") }()
	select {
	case r := <-started:
		t.Errorf("the start does not wait: %s", r)
	case <-time.After(300 * time.Millisecond):
	}
	signal(unix.SIGCONT, slow)
	if r := <-started; r.code != 0 {
		t.Fatal(r)
	}
	inside(`wire0@`, "ip", "link", "show", "wire0")
	// Nobody is there to clean up: the next command does.
	signal(unix.SIGKILL, h.supervisorOf("c1"), h.instances()["c1"].State.PID)
	h.eventually(`STOPPED`, "list", "c1")
	h.ok("config", "set", "c1", "user.seen", "1")
	if after := hostNetwork(t, parent, peer); after != before {
		t.Errorf("after a kill:\n%s\nbefore:\n%s", after, before)
	}
	h.ok("delete", "--force", "c1", "c2")
	if after := hostNetwork(t, parent, peer); after != before {
		t.Errorf("at the end:\n%s\nbefore:\n%s", after, before)
	}
}
