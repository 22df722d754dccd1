package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"poolctl/runtime/network"
)

// testNetwork makes a network that ends with the test.
func testNetwork(t *testing.T, s *System, prefix string, config map[string]string) string {
	t.Helper()
	name := fmt.Sprintf("%s%x", prefix, os.Getpid()&0xffffff)
	if err := s.CreateNetwork(t.Context(), name, config, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.DeleteNetwork(context.Background(), name); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if _, err := netlink.LinkByName(name); err == nil {
			t.Errorf("bridge %s is still there", name)
		}
	})
	return name
}

// A new network has Incus's defaults: free subnets, and NAT where nobody has said where it is.
func TestNetworkDefaults(t *testing.T) {
	s := newSystem(t)
	auto := testNetwork(t, s, "na", map[string]string{"user.k": "v"})
	c, err := s.NetworkConfig(t.Context(), auto)
	if err != nil || c.Config["ipv4.nat"] != "true" || c.Config["ipv6.nat"] != "true" || c.Config["user.k"] != "v" ||
		!strings.HasPrefix(c.Config["ipv4.address"], "10.") || !strings.HasPrefix(c.Config["ipv6.address"], "fd42:") {
		t.Errorf("%v, %v", c, err)
	}
	p, err := network.RandomIPv4()
	if err != nil {
		t.Fatal(err)
	}
	fixed := testNetwork(t, s, "nf", map[string]string{"ipv4.address": p.String(), "ipv6.address": "none"})
	c, err = s.NetworkConfig(t.Context(), fixed)
	if err != nil || len(c.Config) != 2 {
		t.Errorf("%v, %v", c, err)
	}
}

// A change takes effect at once, and one that is refused or fails changes nothing.
func TestSetNetwork(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	name := testNetwork(t, s, "ns", nil)
	other := testNetwork(t, s, "no", nil)
	otherConfig, err := s.NetworkConfig(ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	state := func() network.LinkState {
		t.Helper()
		info, err := s.NetworkInfo(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	set := func(values ...string) error {
		config := map[string]string{}
		for _, v := range values {
			k, v, _ := strings.Cut(v, "=")
			config[k] = v
		}
		return s.SetNetwork(ctx, name, NetworkChange{Config: config})
	}
	p, err := network.RandomIPv4()
	if err != nil {
		t.Fatal(err)
	}
	if err := set("bridge.mtu=1400", "bridge.hwaddr=00:16:3e:77:01:02", "ipv4.address="+p.String(), "ipv6.address=none", "ipv6.nat="); err != nil {
		t.Fatal(err)
	}
	if i := state(); i.MTU != 1400 || i.HWAddr != "00:16:3e:77:01:02" || len(i.Addresses) != 1 || i.Addresses[0].Address != p.Addr().String() {
		t.Errorf("%+v", i)
	}
	before, err := s.NetworkConfig(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	for problem, values := range map[string][]string{
		`unknown key "x"`:                        {"x=1"},
		"ipv4.nat=maybe: not true or false":      {"ipv4.nat=maybe", "bridge.mtu=1300"},
		"is not of hosts in the subnet":          {"ipv4.dhcp.ranges=10.255.255.2-10.255.255.9"},
		"invalid MTU 1000: want 1280":            {"bridge.mtu=1000", "ipv6.address=auto"},
		"of network " + other:                    {"ipv4.address=" + otherConfig.Config["ipv4.address"]},
		"overlaps 127.0.0.0/8 on lo":             {"ipv4.address=127.3.0.1/16"},
		"dnsmasq does not take raw.dnsmasq: bad": {"raw.dnsmasq=no-such-option=1"},
		// dnsmasq takes it, and cannot do it then.
		"cannot start dnsmasq": {"raw.dnsmasq=tftp-root=/no/such\nenable-tftp", "bridge.mtu=1300"},
	} {
		if err := set(values...); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v: want %s, got %v", values, problem, err)
		}
		after, err := s.NetworkConfig(ctx, name)
		if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%v changed %v to %v, %v", values, before, after, err)
		}
		if i := state(); i.MTU != 1400 || len(i.Addresses) != 1 {
			t.Errorf("%v: %+v", values, i)
		}
	}
	rec, err := s.dir.LoadNetwork(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.bridge(rec)
	if err != nil {
		t.Fatal(err)
	}
	if pulse, err := b.Pulse(); err != nil || !pulse.Alive {
		t.Errorf("%+v, %v", pulse, err)
	}
	// Appended, it counts.
	if err := set("raw.dnsmasq=address=/raw.test/192.0.2.77"); err != nil {
		t.Fatal(err)
	}
	if err := set("bridge.mtu=", "bridge.hwaddr=", "raw.dnsmasq=", "ipv6.address=auto"); err != nil {
		t.Fatal(err)
	}
	if i := state(); i.MTU != 1500 || i.HWAddr == "00:16:3e:77:01:02" || len(i.Addresses) != 3 {
		t.Errorf("%+v", i)
	}
}

// A network is renamed with its bridge, unless something uses it or the name is taken.
func TestRenameNetwork(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	name := testNetwork(t, s, "nr", nil)
	to := "n2" + name[2:]
	other := testNetwork(t, s, "nt", nil)
	was, err := s.NetworkConfig(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	for target, problem := range map[string]string{other: "exists", "lo": "made by something else", "a b": "not allowed", "x": "shorter"} {
		if err := s.RenameNetwork(ctx, name, target); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if err := s.RenameNetwork(ctx, name, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.DeleteNetwork(context.Background(), to); err != nil {
			t.Error(err)
		}
	})
	if _, err := netlink.LinkByName(name); err == nil {
		t.Errorf("bridge %s is still there", name)
	}
	now, err := s.NetworkConfig(ctx, to)
	if err != nil || fmt.Sprint(now) != fmt.Sprint(was) {
		t.Errorf("%v, was %v, %v", now, was, err)
	}
	if info, err := s.NetworkInfo(ctx, to); err != nil || info.State != "up" || len(info.Addresses) != 3 {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := s.NetworkInfo(ctx, name); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}
