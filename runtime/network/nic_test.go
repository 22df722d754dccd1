package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
)

// reach connects to a port without a listener: refused means that the other
// side answered.
func reach(t testing.TB, addr string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, "9"), 5*time.Second)
	if err == nil {
		_ = c.Close()
		return
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("cannot reach %s: %v", addr, err)
	}
}

func TestAttach(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	for _, userns := range []bool{false, true} {
		t.Run(fmt.Sprintf("userns=%v", userns), func(t *testing.T) {
			pid := guest(t, userns)
			n := testNIC(t, b, "web")
			if err := Attach(t.Context(), n, pid); err != nil {
				t.Fatal(err)
			}
			// At once, without waiting for duplicate address detection.
			reach(t, n.IPv4.Addr().String())
			reach(t, n.IPv6.Addr().String())
			mustIn(t, pid, "ping", "-c1", "-W5", b.IPv4.Addr().String())
			mustIn(t, pid, "ping", "-c1", "-W5", b.IPv6.Addr().String())
			if out := mustIn(t, pid, "ip", "route"); !strings.Contains(out, "default via "+b.IPv4.Addr().String()+" dev eth0 metric 2048") {
				t.Errorf("no default route: %s", out)
			}
			if out := mustIn(t, pid, "ip", "-6", "route"); !strings.Contains(out, "default via "+b.IPv6.Addr().String()+" dev eth0 metric 2048") {
				t.Errorf("no IPv6 default route: %s", out)
			}
			list, err := Interfaces(pid)
			if err != nil {
				t.Fatal(err)
			}
			want := []Interface{
				{Name: "lo", State: "up", Type: "loopback", MTU: 65536, Addresses: []Address{
					{"inet", "127.0.0.1", "8", "local"}, {"inet6", "::1", "128", "local"},
				}},
				{
					Name: "eth0", HostName: n.HostName, HWAddr: n.HWAddr, State: "up", Type: "broadcast", MTU: 1500,
					Addresses: []Address{{"inet", n.IPv4.Addr().String(), "24", "global"}, {"inet6", n.IPv6.Addr().String(), "64", "global"}},
				},
			}
			for i := range list {
				list[i].Addresses = without(list[i].Addresses, "link")
			}
			if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(Interface{}, "Counters")); diff != "" {
				t.Errorf("interfaces (-want +got):\n%s", diff)
			}
			if list[1].Counters.BytesReceived == 0 || list[1].Counters.PacketsSent == 0 {
				t.Errorf("counters stay 0: %+v", list[1].Counters)
			}
			s, err := b.State()
			if err != nil || !cmp.Equal(s.Ports, []string{n.HostName}) {
				t.Errorf("ports %v, %v", s.Ports, err)
			}
			if err := Detach(n, nil); err != nil {
				t.Error(err)
			}
			if err := Detach(n, nil); err != nil {
				t.Errorf("second Detach: %v", err)
			}
			if out, err := in(t, pid, "ip", "link", "show", "eth0"); err == nil {
				t.Errorf("eth0 is still there: %s", out)
			}
		})
	}
}

func without(list []Address, scope string) []Address {
	var out []Address
	for _, a := range list {
		if a.Scope != scope {
			out = append(out, a)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Family < out[j].Family })
	return out
}

// TestAttachUndo checks that nothing stays on the host when a step fails.
func TestAttachUndo(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	pid := guest(t, false)
	good := testNIC(t, b, "web")
	if err := Attach(t.Context(), good, pid); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	change := func(f func(*NIC)) NIC {
		n := testNIC(t, b, "web")
		n.Name = "eth1"
		f(&n)
		return n
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		nic  NIC
		pid  int
		want string
	}{
		{"cancelled", cancelled, change(func(*NIC) {}), pid, "context canceled"},
		{"inner name exists", t.Context(), change(func(n *NIC) { n.Name = "eth0" }), pid, "file exists"},
		{"random host name, inner name exists", t.Context(), change(func(n *NIC) { n.Name = "eth0"; n.HostName = "" }), pid, "file exists"},
		{"host name exists", t.Context(), change(func(n *NIC) { n.HostName = good.HostName }), pid, "file exists"},
		{"no bridge", t.Context(), change(func(n *NIC) { n.Bridge = "ptnothing" }), pid, "is the network up?"},
		{"bridge is none", t.Context(), change(func(n *NIC) { n.Bridge = "lo" }), pid, "not a bridge"},
		{"unreachable gateway", t.Context(), change(func(n *NIC) { n.Gateway4 = n.Gateway4.Next(); n.IPv4 = n.IPv6 }), pid, "invalid IPv4"},
		{"gateway beyond", t.Context(), change(func(n *NIC) { n.IPv4 = good.IPv6; n.IPv4 = fromIPNet(nil) }), pid, "default route"},
		{"multicast hardware address", t.Context(), change(func(n *NIC) { n.HWAddr = "01:00:5e:00:00:01" }), pid, "multicast"},
		{"bad name", t.Context(), change(func(n *NIC) { n.Name = "a/b" }), pid, "invalid interface name"},
		{"lo", t.Context(), change(func(n *NIC) { n.Name = "lo" }), pid, "loopback"},
		{"no process", t.Context(), change(func(*NIC) {}), 1 << 30, "namespace of process"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "gateway beyond" {
				// Without an address, eth0 included, nothing is on-link.
				c.pid = guest(t, false)
			}
			err := Attach(c.ctx, c.nic, c.pid)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			s, err := b.State()
			if err != nil || !cmp.Equal(s.Ports, []string{good.HostName}) {
				t.Errorf("ports %v, %v", s.Ports, err)
			}
		})
	}
	if _, err := netlink.LinkByName(good.HostName); err != nil {
		t.Errorf("the first interface was harmed: %v", err)
	}
}

// TestThreadsStayHome checks that no goroutine ever runs in a guest's namespace.
func TestThreadsStayHome(t *testing.T) {
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	pid := guest(t, false)
	for range 50 {
		if _, err := Interfaces(pid); err != nil {
			t.Fatal(err)
		}
	}
	runtime.Gosched()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatal(err, tasks)
	}
	eventually(t, 5*time.Second, func() string {
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != home {
				return task + " is in " + ns
			}
		}
		return ""
	})
}

func TestInterfacesNoProcess(t *testing.T) {
	if _, err := Interfaces(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestForeignPeer: a veth of which the other end is in a third namespace shows
// no host name, whatever has the same index on the host.
func TestForeignPeer(t *testing.T) {
	a, c := guest(t, false), guest(t, false)
	mustIn(t, a, "ip", "link", "add", "inner0", "type", "veth", "peer", "name", "inner1", "netns", fmt.Sprint(c))
	mustIn(t, a, "ip", "link", "add", "both0", "type", "veth", "peer", "name", "both1")
	list, err := Interfaces(a)
	if err != nil || len(list) != 4 {
		t.Fatal(list, err)
	}
	for _, i := range list {
		if i.HostName != "" || i.State != "down" {
			t.Errorf("%+v", i)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	br := testBridge(b)
	mustUp(b, br)
	pid := guest(b, true)
	n := testNIC(b, br, "bench")
	for b.Loop() {
		if err := Attach(b.Context(), n, pid); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := Detach(n, nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkInterfaces(b *testing.B) {
	br := testBridge(b)
	mustUp(b, br)
	pid := guest(b, true)
	if err := Attach(b.Context(), testNIC(b, br, "bench"), pid); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Interfaces(pid); err != nil {
			b.Fatal(err)
		}
	}
}
