package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestUpDown(t *testing.T) {
	b := testBridge(t)
	s, err := b.State()
	if err != nil || !cmp.Equal(s, State{}) {
		t.Fatalf("state before Up: %+v, %v", s, err)
	}
	mustUp(t, b)
	s, err = b.State()
	if err != nil {
		t.Fatal(err)
	}
	if !s.Up || s.DnsmasqPID == 0 || s.MTU != 1500 || s.HWAddr != b.hwAddr().String() || len(s.Ports) != 0 {
		t.Errorf("state %+v", s)
	}
	want := []Address{
		{"inet", b.IPv4.Addr().String(), "24", "global"}, {"inet6", b.IPv6.Addr().String(), "64", "global"},
	}
	if diff := cmp.Diff(want, without(s.Addresses, "link")); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	reach(t, b.IPv4.Addr().String())
	reach(t, b.IPv6.Addr().String())

	// Idempotent: the same dnsmasq goes on.
	mustUp(t, b)
	again, err := b.State()
	if err != nil || again.DnsmasqPID != s.DnsmasqPID {
		t.Errorf("dnsmasq %d, before %d, %v", again.DnsmasqPID, s.DnsmasqPID, err)
	}
	if err := b.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string { // it may be init's zombie for a moment
		if err := unix.Kill(s.DnsmasqPID, 0); !errors.Is(err, unix.ESRCH) {
			return fmt.Sprintf("dnsmasq is still there: %v", err)
		}
		return ""
	})
	if _, err := os.Stat(b.RunDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files stay in %s: %v", b.RunDir, err)
	}
	s, err = b.State()
	if err != nil || s.Up {
		t.Errorf("state after Down: %+v, %v", s, err)
	}
	if err := b.Down(t.Context()); err != nil {
		t.Errorf("second Down: %v", err)
	}
}

// TestUpRepairs: what went away or was changed comes back.
func TestUpRepairs(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	before, err := b.State()
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(b.Name)
	if err != nil {
		t.Fatal(err)
	}
	extra, _ := netlink.ParseAddr("198.51.100.77/32")
	if err := errors.Join(unix.Kill(before.DnsmasqPID, unix.SIGKILL), netlink.AddrAdd(link, extra), netlink.LinkSetDown(link)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if s, err := b.State(); err != nil || s.DnsmasqPID != 0 {
			return fmt.Sprintf("dnsmasq outlives SIGKILL: %+v, %v", s, err)
		}
		return ""
	})
	mustUp(t, b)
	s, err := b.State()
	if err != nil {
		t.Fatal(err)
	}
	if !s.Up || s.DnsmasqPID == 0 || s.DnsmasqPID == before.DnsmasqPID {
		t.Errorf("state %+v", s)
	}
	if diff := cmp.Diff(without(before.Addresses, "none"), without(s.Addresses, "none")); diff != "" {
		t.Errorf("addresses (-before +after):\n%s", diff)
	}
	// Even without its pid file dnsmasq is found, and not started twice.
	if err := os.Remove(b.pidFile()); err != nil {
		t.Fatal(err)
	}
	mustUp(t, b)
	if again, err := b.State(); err != nil || again.DnsmasqPID != s.DnsmasqPID {
		t.Errorf("dnsmasq %d, before %d, %v", again.DnsmasqPID, s.DnsmasqPID, err)
	}
	// A pid file that names another process harms nobody.
	if err := os.WriteFile(b.pidFile(), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := b.State(); err != nil || again.DnsmasqPID != s.DnsmasqPID {
		t.Errorf("dnsmasq %d, before %d, %v", again.DnsmasqPID, s.DnsmasqPID, err)
	}
}

// TestUpAfterKill: a dnsmasq that has lost its arguments but not yet its sockets is
// waited for, and the next one has its addresses.
func TestUpAfterKill(t *testing.T) {
	b := testBridge(t)
	for range 30 {
		mustUp(t, b)
		p, err := b.servingDnsmasq()
		if err != nil || p == nil {
			t.Fatalf("no dnsmasq: %v", err)
		}
		if err := p.signal(t.Context(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		cmdline := fmt.Sprintf("/proc/%d/cmdline", p.pid)
		p.Close()
		for { // as quickly as it can be seen
			if text, err := os.ReadFile(cmdline); err != nil || len(text) == 0 {
				break
			}
		}
	}
}

// TestUpChanged: other subnets replace the addresses and dnsmasq's arguments.
func TestUpChanged(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	before, err := b.State()
	if err != nil {
		t.Fatal(err)
	}
	v4, _, err := RandomSubnets()
	if err != nil {
		t.Fatal(err)
	}
	b.IPv4, b.IPv6 = v4, netip.Prefix{}
	mustUp(t, b)
	s, err := b.State()
	if err != nil {
		t.Fatal(err)
	}
	want := []Address{{"inet", v4.Addr().String(), "24", "global"}}
	if diff := cmp.Diff(want, s.Addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if s.DnsmasqPID == 0 || s.DnsmasqPID == before.DnsmasqPID {
		t.Errorf("dnsmasq %d, before %d", s.DnsmasqPID, before.DnsmasqPID)
	}
	b.IPv4 = netip.Prefix{}
	mustUp(t, b)
	if s, err = b.State(); err != nil || s.DnsmasqPID != 0 || len(s.Addresses) != 0 || !s.Up {
		t.Errorf("without addresses: %+v, %v", s, err)
	}
}

func TestUpForeign(t *testing.T) {
	b := testBridge(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	foreign := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(foreign); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(foreign); err != nil {
			t.Errorf("the foreign bridge was harmed: %v", err)
		}
	})
	var want *ForeignError
	if err := b.Up(t.Context()); !errors.As(err, &want) || want.Type != "bridge" {
		t.Errorf("Up: %v", err)
	}
	if _, err := b.State(); !errors.As(err, &want) {
		t.Errorf("State: %v", err)
	}
	if err := b.Down(t.Context()); err != nil {
		t.Errorf("Down: %v", err)
	}
	// Another network of the same name is foreign as well.
	other := testBridge(t)
	mustUp(t, other)
	twin := other
	twin.Dir = t.TempDir()
	if err := twin.Up(t.Context()); !errors.As(err, &want) {
		t.Errorf("Up of another network with that name: %v", err)
	}
}

func TestUpOverlap(t *testing.T) {
	a, b := testBridge(t), testBridge(t)
	mustUp(t, a)
	var want *OverlapError
	for _, c := range []struct{ v4, v6 netip.Prefix }{
		{netip.PrefixFrom(a.IPv4.Addr().Next(), 24), b.IPv6},
		{netip.PrefixFrom(a.IPv4.Addr().Next(), 28), b.IPv6},
		{netip.PrefixFrom(a.IPv4.Addr().Next(), 16), b.IPv6},
		{b.IPv4, netip.PrefixFrom(a.IPv6.Addr().Next(), 64)},
		{netip.MustParsePrefix("127.9.0.1/24"), b.IPv6},
	} {
		twin := b
		twin.IPv4, twin.IPv6 = c.v4, c.v6
		if err := twin.Up(t.Context()); !errors.As(err, &want) || want.Hint() == "" {
			t.Errorf("Up with %s, %s: %v", c.v4, c.v6, err)
		} else if !strings.Contains(err.Error(), want.Link) || want.Link == "" {
			t.Errorf("%v does not name the link", err)
		}
	}
	if _, err := netlink.LinkByName(b.Name); !isNotFound(err) {
		t.Errorf("a bridge was made: %v", err)
	}
}

// TestUpUndo: a bridge that Up made goes away when dnsmasq cannot be started,
// one that was there stays.
func TestUpUndo(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	if err := b.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.leaseFile(), 0o755); err != nil {
		t.Fatal(err)
	}
	err := b.Up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot start dnsmasq: dnsmasq: cannot open or create lease file") {
		t.Errorf("error %v", err)
	}
	if _, err := netlink.LinkByName(b.Name); !isNotFound(err) {
		t.Errorf("the bridge is still there: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Up(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	mustUp(t, b) // the undo removed the directory in the way
	if err := os.Chmod(b.RunDir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestDnsmasqMissing(t *testing.T) {
	if _, err := findProgram("no-such-program"); err == nil {
		t.Error("found no-such-program")
	}
	t.Setenv("PATH", "/nonexistent")
	if _, err := findProgram("dnsmasq"); err != nil {
		t.Errorf("dnsmasq in /usr/sbin is not found without $PATH: %v", err)
	}
	e := &MissingError{What: "dnsmasq", How: "apt-get install dnsmasq-base"}
	if e.Error() != "dnsmasq is missing" || e.Hint() != "apt-get install dnsmasq-base" {
		t.Error(e, e.Hint())
	}
}

// TestUpConcurrent: many at once make one bridge and one dnsmasq.
func TestUpConcurrent(t *testing.T) {
	b := testBridge(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, dir := range procs {
		if b.looksLike(dir) {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d dnsmasq processes", count)
	}
}

// TestBridgeAddressStays: the gateway's hardware address does not follow ports.
func TestBridgeAddressStays(t *testing.T) {
	b := testBridge(t)
	mustUp(t, b)
	for range 3 {
		n := testNIC(t, b, "web")
		n.HWAddr = "00:00:00:00:00:0" + string("123"[len(n.Name)%3])
		if err := Attach(t.Context(), n, guest(t, false)); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := b.State(); err != nil || s.HWAddr != b.hwAddr().String() {
		t.Errorf("hardware address %s, want %s, %v", s.HWAddr, b.hwAddr(), err)
	}
}

// TestDnsmasqUser: dnsmasq gives up root's rights where its own user can reach
// the network's directories, and works as root where not.
func TestDnsmasqUser(t *testing.T) {
	own, err := user.Lookup("dnsmasq")
	if err != nil {
		t.Fatalf("the package dnsmasq-base makes a user: %v", err)
	}
	for _, c := range []struct {
		mode os.FileMode
		uid  string
	}{{0o711, own.Uid}, {0o700, "0"}} {
		b := testBridge(t)
		if err := os.Chmod(filepath.Dir(b.Dir), c.mode); err != nil {
			t.Fatal(err)
		}
		mustUp(t, b)
		s, err := b.State()
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.DnsmasqPID))
		if err != nil || !strings.Contains(string(status), "\nUid:\t"+c.uid+"\t") {
			t.Errorf("mode %o: want user %s, %v\n%s", c.mode, c.uid, err, status)
		}
		pid := guest(t, true)
		n := testNIC(t, b, "web") // after dnsmasq is up: it has to read the file by itself
		if err := Attach(t.Context(), n, pid); err != nil {
			t.Fatal(err)
		}
		if out, err := dhcp(t, pid); err != nil || !strings.Contains(out, "ip="+n.IPv4.Addr().String()+" ") {
			t.Errorf("mode %o: want %s, got %v, %s", c.mode, n.IPv4, err, out)
		}
	}
}

func BenchmarkUpDown(b *testing.B) {
	br := testBridge(b)
	for b.Loop() {
		if err := errors.Join(br.Up(b.Context()), br.Down(b.Context())); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpAgain(b *testing.B) {
	br := testBridge(b)
	mustUp(b, br)
	for b.Loop() {
		if err := br.Up(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
