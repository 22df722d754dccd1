package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"poolctl/runtime/network"
)

// Networks that are down, or have lost their dnsmasq or record, and interfaces
// that nobody has, are repaired.
func TestDoctorNetworks(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	name := fmt.Sprintf("dr%x", os.Getpid()&0xffffff)
	object := "network " + name
	if err := s.CreateNetwork(ctx, name, nil, ""); err != nil {
		t.Fatal(err)
	}
	rec, err := s.dir.LoadNetwork(name)
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := s.bridge(rec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := s.dir.LoadNetwork(name); err == nil {
			if err := s.DeleteNetwork(context.Background(), name); err != nil {
				t.Error(err)
			}
		}
	})
	finds(t, s, false)

	// Without its dnsmasq.
	live, err := bridge.State()
	if err == nil {
		err = unix.Kill(live.DnsmasqPID, unix.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); live.DnsmasqPID != 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if live, err = bridge.State(); err != nil {
			t.Fatal(err)
		}
	}
	finds(t, s, false, want{"notice", object, "its dnsmasq does not run", "poolctl doctor --fix", ""})
	finds(t, s, true, want{"notice", object, "its dnsmasq does not run", "", "it was brought up"})
	finds(t, s, true)

	// With an interface that no instance has, and one that the user has put there.
	stray, mine := network.RandomHostName(), "m"+name
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{stray, mine} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = n, link.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "p" + n[1:]}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = network.Detach(network.NIC{HostName: n}, nil) })
	}
	finds(t, s, false, want{"warning", object, stray + " is on it", "ip link delete " + stray, ""})
	finds(t, s, true, want{"warning", object, stray + " is on it", "", "it was removed"})
	if _, err := netlink.LinkByName(mine); err != nil {
		t.Errorf("the user's interface: %v", err)
	}
	if err := network.Detach(network.NIC{HostName: mine}, nil); err != nil {
		t.Fatal(err)
	}

	// Down, as after a reboot.
	if err := bridge.Down(ctx); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false, want{"notice", object, "it is not up", "", ""})
	finds(t, s, true, want{"notice", object, "it is not up", "", "it was brought up"})
	finds(t, s, true)

	// Without its record.
	if err := s.dir.DeleteNetwork(name); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false, want{"warning", object, "there is no network of that name", "", ""})
	finds(t, s, true, want{"warning", object, "there is no network of that name", "", "it was taken away"})
	finds(t, s, true)
	if _, err := netlink.LinkByName(name); err == nil {
		t.Error("the bridge is still there")
	}
	for _, dir := range []string{bridge.Dir, bridge.RunDir} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}

	// The name of somebody else's interface.
	rec.Name = name
	if err := errors.Join(os.MkdirAll(filepath.Join(s.dir.Networks(), name), 0o700), s.dir.SaveNetwork(rec)); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(&netlink.Bridge{LinkAttrs: attrs}) })
	finds(t, s, true, want{"error", object, "made by something else", "choose another name", ""})
}
