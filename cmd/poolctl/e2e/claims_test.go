package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestClaims: of two commands that at the same time want what only one can have, one has it, and the other says who has it.
func TestClaims(t *testing.T) {
	h := newHost(t).withPool()
	br := h.bridge
	subnet := netip.MustParsePrefix(strings.TrimSpace(h.ok("network", "get", br, "ipv4.address")))
	at := func(n byte) string {
		b := subnet.Addr().As4()
		b[3] = n
		return netip.AddrFrom4(b).String()
	}
	one := func(why string, commands ...[]string) (winner int) {
		t.Helper()
		results := h.together(commands...)
		if n := succeeded(results); n != 1 {
			t.Fatalf("%d of them succeed: %v", n, results)
		}
		for i, r := range results {
			if r.code == 0 {
				winner = i
			} else if !regexp.MustCompile(why).MatchString(r.stderr) {
				t.Errorf("want %q: %s", why, r)
			}
		}
		return winner
	}
	names := []string{"c1", "c2"}

	// An address and a hardware address of new instances.
	for _, key := range []string{"ipv4.address=" + at(49), "hwaddr=00:16:3e:49:49:49"} {
		var both [][]string
		for _, n := range names {
			both = append(both, []string{"create", "--template", "busybox", n, "--device", "eth0," + key})
		}
		is := one(`is that of device eth0 of c[12] already`, both...)
		h.ok("delete", names[is])
	}
	for i, n := range names {
		h.ok("create", "--template", "busybox", n)
		h.ok("config", "device", "override", n, "eth0", "ipv4.address="+at(byte(50+i)))
	}
	port := fmt.Sprint(25000 + os.Getpid()%500)
	add := func(instance string) []string {
		return []string{"config", "device", "add", instance, "web", "proxy", "listen=tcp:" + at(1) + ":" + port, "connect=tcp:0.0.0.0:80", "nat=true"}
	}

	// Ports that the kernel's rules lead on, and the path of a socket: at the start.
	for _, listen := range []string{"tcp:" + at(1) + ":" + port, "unix:" + h.dir + "/socket"} {
		for _, n := range names {
			keys := []string{"listen=" + listen, "connect=tcp:0.0.0.0:80", "nat=true"}
			if strings.HasPrefix(listen, "unix:") {
				keys = []string{"listen=" + listen, "connect=tcp:127.0.0.1:80"}
			}
			h.ok(append([]string{"config", "device", "add", n, "web", "proxy"}, keys...)...)
		}
		for range 2 {
			is := one(`device web: device web of instance c[12] listens on `, []string{"start", "c1"}, []string{"start", "c2"})
			h.ok("stop", "--force", names[is])
		}
		for _, n := range names {
			h.ok("config", "device", "remove", n, "web")
		}
	}

	// While they run, against each other and against a forward.
	h.ok("start", "c1", "c2")
	for range 2 {
		is := one(`device web of instance c[12] listens on `, add("c1"), add("c2"))
		h.ok("config", "device", "remove", names[is], "web")
	}
	h.ok("network", "forward", "create", br, at(1))
	for range 2 {
		is := one(`device web: forward .* has tcp port `+port+`|device web of instance c1 listens on tcp port `+port,
			add("c1"), []string{"network", "forward", "port", "add", br, at(1), "tcp", port, at(51)})
		if is == 0 {
			h.ok("config", "device", "remove", "c1", "web")
		} else {
			h.ok("network", "forward", "port", "remove", br, at(1), "tcp", port)
		}
	}

	// An address, and a hardware address.
	for _, key := range []string{"ipv4.address=" + at(77), "hwaddr=00:16:3e:77:77:77"} {
		one(`is that of device eth0 of c[12] already`, []string{"config", "device", "set", "c1", "eth0", key}, []string{"config", "device", "set", "c2", "eth0", key})
	}
	// With its new hardware address it has the addresses that it names, and nothing is kept for the old one.
	two := func() {
		t.Helper()
		leases := h.ok("network", "list-leases", br, "--format", "csv", "-c", "h")
		for _, is := range names {
			if strings.Count(leases, is+"\n") != 2 {
				t.Errorf("want two addresses of %s: %s", is, leases)
			}
		}
	}
	two()
	// A change that is killed when the new one has its addresses is taken back.
	hwaddr := h.ok("exec", "c1", "--", "cat", "/sys/class/net/eth0/address")
	h.crashy(op{args: []string{"config", "device", "set", "c1", "eth0", "hwaddr=00:16:3e:77:77:78"}}, "POOLCTL_CRASH=pool.nic.detached:1")
	two()
	h.eventually("^"+hwaddr+"$", "exec", "c1", "--", "cat", "/sys/class/net/eth0/address")
	h.ok("config", "device", "unset", "c1", "eth0", "hwaddr")
	two()

	// Two of one instance have each other's, running or not.
	h.ok("config", "device", "set", "c1", "eth0", "ipv4.address="+at(60))
	h.ok("config", "device", "add", "c1", "eth1", "nic", "network="+br, "ipv4.address="+at(61))
	swap := func(first, second byte) {
		t.Helper()
		h.okStdin(strings.NewReplacer(at(60), at(61), at(61), at(60)).Replace(h.ok("config", "show", "c1")), "config", "edit", "c1")
		if h.instances()["c1"].Status == "Stopped" {
			h.ok("start", "c1")
		}
		for i, n := range []byte{first, second} {
			h.matches("inet "+at(n)+"/", "exec", "c1", "--", "ip", "-4", "addr", "show", "dev", fmt.Sprintf("eth%d", i))
			h.matches(`(?m)^c1,.*,`+at(n)+`,STATIC$`, "network", "list-leases", br, "--format", "csv")
		}
	}
	swap(61, 60)
	h.ok("stop", "--force", "c1")
	swap(60, 61)
	h.ok("delete", "--force", "c1", "c2")
}
