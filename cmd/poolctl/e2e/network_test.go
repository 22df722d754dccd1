package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"poolctl/fixtures"
)

// TestNetworkCommands: what `lxc network` has, with its words and tables.
func TestNetworkCommands(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	h.matches(`^true\n$`, "network", "get", br, "ipv4.nat")
	h.matches(`^\n$`, "network", "get", br, "bridge.mtu")
	h.fails(1, `unknown key "bridge.mt"`, "network", "get", br, "bridge.mt")
	h.ok("network", "set", br, "bridge.mtu", "1400")
	h.ok("network", "set", br, "dns.domain=lab.test", "user.note=hello there")
	h.ok("network", "set", "-p", br, "description=the lab")
	h.matches(`^the lab\n$`, "network", "get", "-p", br, "description")
	h.matches(`(?s)^config:\n  bridge.mtu: "1400"\n  dns.domain: lab.test\n  ipv4.address: 10\.[0-9.]+/24\n  ipv4.nat: "true"\n.*user.note: hello there\ndescription: the lab\nname: `+br+
		`\ntype: bridge\nused_by:\n- /1.0/profiles/default\nmanaged: true\nstatus: Created\nlocations:\n- none\n$`, "network", "show", br)
	h.matches(`(?s)^Name: `+br+`\nMAC address: [0-9a-f:]{17}\nMTU: 1400\nState: up\nType: broadcast\n\nIP addresses:\n  inet\t10\.[0-9.]+/24 \(global\)\n.*\n\nNetwork usage:\n`+
		`  Bytes received: .*B\n  Bytes sent: .*B\n  Packets received: \d+\n  Packets sent: \d+\n\nBridge:\n  ID: 8000\.[0-9a-f]{12}\n  STP: false\n  Forward delay: 1500\n`+
		`  Default VLAN ID: \d+\n  VLAN filtering: (true|false)\n  Upper devices: \n$`, "network", "info", br)
	h.matches(`(?m)^Name: lo$`, "network", "info", "lo")
	h.matches(`(?m)^managed: false$`, "network", "show", "lo")
	h.ok("network", "unset", br, "user.note")
	yaml := h.ok("network", "show", br)
	h.okStdin(strings.Replace(yaml, "bridge.mtu: \"1400\"", "bridge.mtu: \"1450\"", 1), "network", "edit", br)
	h.matches(`(?m)^MTU: 1450$`, "network", "info", br)
	h.failed(h.runStdin(strings.Replace(yaml, "bridge.mtu", "bridge.mut", 1), "network", "edit", br), 1, `unknown key "bridge.mut"`)
	h.fails(1, `cannot rename network `+br+` to `+br+`x: in use by \[/1.0/profiles/default\]`, "network", "rename", br, br+"x")
	for _, c := range []struct{ want, arg string }{
		{`ipv4.address=10.1.2.0/24: it is no address of a host in a subnet`, "ipv4.address=10.1.2.0/24"},
		{`is not of hosts in the subnet`, "ipv4.dhcp.ranges=192.0.2.7-192.0.2.9"},
		{`its first is above its last`, "ipv4.dhcp.ranges=192.0.2.9-192.0.2.7"},
		{`overlaps .* of network ` + br, "ipv4.address=" + strings.TrimSpace(h.ok("network", "get", br, "ipv4.address"))},
		{`dnsmasq does not take raw.dnsmasq`, "raw.dnsmasq=rubbish"},
		{`unknown key "tunnel.x.local"\nhint: there are no tunnels`, "tunnel.x.local=1"},
	} {
		h.fails(1, c.want, "network", "create", br+"b", c.arg)
		h.fails(1, "not found", "network", "show", br+"b")
	}
	h.ok("network", "create", br+"b", "ipv6.address=none")
	h.ok("network", "rename", br+"b", br+"c")
	h.matches(`(?m)^\| `+br+`c +\| bridge +\| YES +\| 10\.[0-9.]+/24 +\| none +\| +\| 0 +\| CREATED \|$`, "network", "list")
	h.ok("network", "delete", br+"c")
	h.matches(`^`+br+`.gw,,10\.[0-9.]+,GATEWAY\n`+br+`.gw,,fd42:[0-9a-f:]+,GATEWAY\n$`, "network", "list-leases", br, "--format", "csv")
	h.matches(`^GATEWAY,10\.[0-9.]+\nGATEWAY,fd42:[0-9a-f:]+\n$`, "network", "list-leases", br, "--format", "csv", "-c", "t,i")
	h.fails(2, `unknown column 'x' in "hx"`, "network", "list-leases", br, "-c", "hx")

	// Attached to an instance that runs, and to a profile.
	h.ok("create", "--template", "busybox", "c1")
	h.ok("start", "c1")
	h.ok("network", "attach", br, "c1")
	h.matches(`eth1@`, "exec", "c1", "--", "ip", "link")
	h.fails(1, "device "+br+": already exists", "network", "attach", br, "c1")
	h.ok("network", "attach", br, "c1", "second", "lan0")
	h.matches(`lan0@`, "exec", "c1", "--", "ip", "link")
	h.fails(1, "2 devices are on it: "+br+", second\nhint: name one of them", "network", "detach", br, "c1")
	h.ok("network", "detach", br, "c1", "second")
	h.ok("network", "detach", br, "c1")
	if out := h.ok("exec", "c1", "--", "ip", "link"); strings.Contains(out, "eth1") || strings.Contains(out, "lan0") {
		t.Errorf("%s", out)
	}
	h.fails(1, "device eth0 is a profile's", "network", "detach", br, "c1")
	h.ok("network", "detach-profile", br, "default")
	h.fails(1, "no device of it is on "+br, "network", "detach", br, "c1")
	h.ok("network", "attach-profile", br, "default", "eth0")
	h.matches(`eth0@`, "exec", "c1", "--", "ip", "link")
	h.fails(1, "unknown nictype ovn\nhint: nictype is bridged, p2p, ", "config", "device", "add", "c1", "eth1", "nic", "nictype=ovn")
	h.ok("delete", "--force", "c1")
}

// TestNetworkLive: names and addresses of instances, through all that befalls their network.
func TestNetworkLive(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	h.ok("create", "--template", "busybox", "c1")
	h.ok("create", "--template", "busybox", "c2")
	h.ok("start", "c1", "c2")
	reach := func() {
		t.Helper()
		h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-4", "-c1", "-W2", "c2.lxd")
		h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-6", "-c1", "-W2", "c2")
		v4, _, _ := strings.Cut(h.ok("list", "c2", "--format", "csv", "-c", "4"), " ")
		h.eventually(`name = c2.lxd`, "exec", "c1", "--", "nslookup", v4)
	}
	reach()
	h.matches(`(?m)^\| c2 +\| 00:16:3e:[0-9a-f:]+ +\| 10\.[0-9.]+ +\| DYNAMIC \|$`, "network", "list-leases", br)

	// dnsmasq is killed.
	pidFile := filepath.Join(h.state, "run/networks", br, "dnsmasq.pid")
	kill := func() {
		t.Helper()
		text, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	reach()

	// The bridge is deleted.
	if out, err := exec.Command("ip", "link", "delete", br).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h.until("both are on the bridge again", func() bool {
		ports, err := os.ReadDir("/sys/class/net/" + br + "/brif")
		return err == nil && len(ports) == 2
	})
	reach()

	// The subnet becomes another one.
	p := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
	h.ok("network", "set", br, "ipv4.address=auto", "bridge.mtu=1400")
	now := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
	if p.Overlaps(now) {
		t.Fatalf("%s, was %s", now, p)
	}
	out := h.ok("exec", "c2", "--", "ip", "addr", "show", "dev", "eth0")
	if m := regexp.MustCompile(`inet ([0-9.]+)/24`).FindAllStringSubmatch(out, -1); len(m) != 1 || !now.Contains(netip.MustParseAddr(m[0][1])) || !strings.Contains(out, "mtu 1400") {
		t.Errorf("want one address in %s:\n%s", now, out)
	}
	h.matches(`default via `+now.Addr().String(), "exec", "c2", "--", "ip", "route")
	h.until("c1 asks the resolver at its new address", func() bool {
		return h.run("exec", "c1", "--", "sh", "-c", "echo nameserver "+now.Addr().String()+" > /etc/resolv.conf").code == 0
	})
	reach()

	// The host has the names in its file, for as long as they are wanted.
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	h.ok("network", "set", br, "dns.etc_hosts=true")
	if text, err := os.ReadFile("/etc/hosts"); err != nil || !strings.HasPrefix(string(text), string(hosts)) || !regexp.MustCompile(`(?m)^[0-9.]+ c2.lxd c2$`).Match(text) {
		t.Errorf("/etc/hosts: %s, %v", text, err)
	}
	h.ok("network", "unset", br, "dns.etc_hosts")
	if text, err := os.ReadFile("/etc/hosts"); err != nil || string(text) != string(hosts) {
		t.Errorf("/etc/hosts: %s, %v", text, err)
	}

	// No names any more.
	h.ok("network", "set", br, "dns.mode=none")
	if r := h.run("exec", "c1", "--", "nslookup", "c2.lxd"); r.code == 0 {
		t.Errorf("c2 still has a name: %s", r)
	}
	h.ok("delete", "--force", "c1", "c2")
}

// TestNetworkClients: Alpine's and Debian's own clients have the reserved address by DHCP, and a route by router
// advertisement; a busybox without any has both addresses all the same. All find each other by name.
func TestNetworkClients(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	leases := filepath.Join(h.state, "run/networks", br, "dnsmasq.leases")
	h.withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:alpine", "--alias", "alpine")
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	h.ok("remote", "remove", "m")
	h.withRemote(serve(t, debianMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:debian", "--alias", "debian")
	via := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address"))).Addr().Next().String()
	h.ok("network", "set", br, "ipv4.dhcp.routes=192.0.2.0/24,"+via)
	h.ok("launch", "alpine", "alpine")
	h.ok("launch", "debian", "debian")
	h.ok("launch", "bb", "plain")
	h.ok("exec", "alpine", "--", "udhcpc", "-i", "eth0", "-n", "-q")
	h.eventually("", "exec", "debian", "--", "sh", "-c", // systemd may still boot
		"printf '[Match]\\nName=eth0\\n[Network]\\nDHCP=yes\\n' > /etc/systemd/network/eth0.network && systemctl restart systemd-networkd")
	for _, name := range []string{"alpine", "debian"} {
		address, _, _ := strings.Cut(h.ok("list", name, "--format", "csv", "-c", "4"), " ")
		h.until(name+" has a lease for "+address, func() bool {
			text, err := os.ReadFile(leases)
			return err == nil && strings.Contains(string(text), " "+address+" "+name+" ")
		})
		h.eventually(`default via fe80:`, "exec", name, "--", "ip", "-6", "route")
		h.eventually(`\| 10\.[0-9.]+ \(eth0\) +\| fd42:[0-9a-f:]+ \(eth0\) +\|`, "list", name)
	}
	h.eventually(`(?s)default via 10\.[0-9.]+ dev eth0 proto dhcp.*192\.0\.2\.0/24 via `+regexp.QuoteMeta(via)+` dev eth0 proto dhcp`, "exec", "debian", "--", "ip", "-4", "route")
	h.matches(`\| 10\.[0-9.]+ \(eth0\) +\| fd42:[0-9a-f:]+ \(eth0\) +\|`, "list", "plain")
	if text, err := os.ReadFile(leases); err != nil || strings.Contains(string(text), " plain ") {
		t.Errorf("plain has a lease of its own: %s, %v", text, err)
	}
	for _, name := range []string{"debian", "plain"} {
		h.eventually(`bytes from`, "exec", "alpine", "--", "ping", "-c1", "-W2", name)
		h.eventually(`bytes from`, "exec", "alpine", "--", "ping", "-6", "-c1", "-W2", name+".lxd")
	}
	h.ok("delete", "--force", "alpine", "debian", "plain")
}

// TestResolverFromOutside: instances without a client find each other by name, also after their network has changed; what
// they write themselves stays.
func TestResolverFromOutside(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	h.withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	h.ok("launch", "bb", "c1")
	h.ok("launch", "bb", "c2")
	ask := func() {
		t.Helper()
		for _, name := range []string{"c2", "c2.lxd"} {
			h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-4", "-c1", "-W2", name)
			h.eventually(`bytes from`, "exec", "c1", "--", "ping", "-6", "-c1", "-W2", name)
		}
	}
	ask()
	h.ok("network", "set", br, "ipv4.address=auto", "ipv6.address=auto")
	ask()
	h.ok("network", "set", br, "dns.nameservers=192.0.2.53,2001:db8::53", "dns.search=one.test,two.test")
	h.matches(`^# Written by poolctl.*\nsearch one.test two.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n$`, "exec", "c1", "--", "cat", "/etc/resolv.conf")
	h.ok("exec", "c1", "--", "sh", "-c", "echo nameserver 192.0.2.54 > /etc/resolv.conf")
	h.ok("network", "unset", br, "dns.nameservers")
	h.matches(`^nameserver 192.0.2.54\n$`, "exec", "c1", "--", "cat", "/etc/resolv.conf")
	h.ok("restart", "--force", "c1")
	h.matches(`^nameserver 192.0.2.54\n$`, "exec", "c1", "--", "cat", "/etc/resolv.conf")
	h.ok("delete", "--force", "c1", "c2")
}
