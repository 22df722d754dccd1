package runtime

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"poolctl/runtime/network"
)

// testNIC is an interface on a bridge of the test's own.
func testNIC(t testing.TB) network.NIC {
	t.Helper()
	v4, v6, err := network.RandomSubnets()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := network.Bridge{
		Name: "br" + network.RandomHostName()[4:], IPv4: v4, IPv6: v6, DHCP4: true, DHCP6: true,
		Dir: filepath.Join(dir, "net"), RunDir: filepath.Join(dir, "netrun"),
	}
	t.Cleanup(func() {
		if err := b.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := b.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	hw := network.RandomHWAddr()
	a4, a6, err := b.Reserve("c1", hw, netip.Addr{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	return network.NIC{
		Bridge: b.Name, Name: "eth0", HostName: network.RandomHostName(), HWAddr: hw,
		IPv4: netip.PrefixFrom(a4, v4.Bits()), IPv6: netip.PrefixFrom(a6, v6.Bits()),
		Gateway4: v4.Addr(), Gateway6: v6.Addr(),
	}
}

// TestNIC has a network before init runs, again after a reboot, and none of it
// on the host after the stop.
func TestNIC(t *testing.T) {
	nic := testNIC(t)
	s := testSpec(t, busyboxRoot(t))
	s.NICs = []network.NIC{nic}
	begin := time.Now()
	inst := start(t, s)
	t.Logf("start with an interface took %v", time.Since(begin))
	check := func(inst *Instance) {
		t.Helper()
		ifs, err := inst.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(ifs, func(i network.Interface) bool { return i.Name == "eth0" })
		if i < 0 {
			t.Fatalf("no eth0: %+v", ifs)
		}
		for _, want := range []netip.Addr{nic.IPv4.Addr(), nic.IPv6.Addr()} {
			if !slices.ContainsFunc(ifs[i].Addresses, func(a network.Address) bool { return a.Address == want.String() }) {
				t.Errorf("no %s: %+v", want, ifs[i])
			}
			if out, err := exec.Command("ping", "-c", "1", "-W", "3", want.String()).CombinedOutput(); err != nil {
				t.Errorf("the host does not reach %s: %v: %s", want, err, out)
			}
		}
		if out, code := run(t, inst, "", "ping", "-c", "1", "-W", "3", nic.Gateway4.String()); code != 0 {
			t.Errorf("the instance does not reach its gateway: %s", out)
		}
	}
	check(inst)
	run(t, inst, "", "reboot", "-f")
	var again *Instance
	eventually(t, "the instance is back", 10*time.Second, func() bool {
		var err error
		again, err = Open(s.RunDir)
		if err == nil && again.PID() == inst.PID() {
			_ = again.Close()
			return false
		}
		return err == nil
	})
	defer func() { _ = again.Close() }()
	check(again)
	if err := again.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	if _, err := net.InterfaceByName(nic.HostName); err == nil {
		t.Errorf("%s is left on the host", nic.HostName)
	}
}

// TestNICFails undoes the start when the bridge is missing.
func TestNICFails(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.NICs = []network.NIC{{Bridge: "nosuchbridge0", Name: "eth0", HostName: network.RandomHostName()}}
	if err := Start(t.Context(), s); err == nil {
		t.Error("no error")
	} else {
		t.Log(err)
	}
	checkGone(t, s)
}
