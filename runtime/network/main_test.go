package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the tests of runtime/network make bridges and network namespaces: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// testBridge describes a bridge with a random name and free subnets; it is taken
// down at the test's end.
func testBridge(t testing.TB) Bridge {
	t.Helper()
	v4, v6, err := RandomSubnets()
	if err != nil {
		t.Fatal(err)
	}
	if !v6.IsValid() {
		t.Fatal("the kernel has no IPv6")
	}
	// As the real state directory's parents: dnsmasq's user can pass, so that the
	// tests run with the rights that it has in earnest.
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
		t.Fatal(err)
	}
	b := Bridge{
		Name: "pt" + strings.TrimPrefix(RandomHostName(), "veth"), IPv4: v4, IPv6: v6, DHCP4: true, DHCP6: true,
		Dir: filepath.Join(dir, "state dir, x"), RunDir: filepath.Join(dir, "run dir, x"),
	}
	t.Cleanup(func() {
		if err := b.Down(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := netlink.LinkByName(b.Name); !isNotFound(err) {
			t.Errorf("bridge %s is still there: %v", b.Name, err)
		}
	})
	return b
}

func mustUp(t testing.TB, b Bridge) {
	t.Helper()
	if err := b.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// guest is a process in a network namespace of its own; with userns in a user
// namespace too, as an unprivileged instance.
func guest(t testing.TB, userns bool) int {
	t.Helper()
	cmd := exec.Command("busybox", "sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if userns {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000000, Size: 65536}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// in runs a program in a guest's network namespace.
func in(t testing.TB, pid int, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", fmt.Sprint(pid), "-n"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustIn(t testing.TB, pid int, args ...string) string {
	t.Helper()
	out, err := in(t, pid, args...)
	if err != nil {
		t.Fatalf("%v inside: %v\n%s", args, err, out)
	}
	return out
}

// testNIC reserves addresses on b and describes an interface with them.
func testNIC(t testing.TB, b Bridge, instance string) NIC {
	t.Helper()
	n := NIC{Bridge: b.Name, Name: "eth0", HostName: RandomHostName(), HWAddr: RandomHWAddr()}
	v4, v6, err := b.Reserve(instance, n.HWAddr, netip.Addr{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if b.IPv4.IsValid() {
		n.IPv4, n.Gateway4 = netip.PrefixFrom(v4, b.IPv4.Bits()), b.IPv4.Addr()
	}
	if b.IPv6.IsValid() {
		n.IPv6, n.Gateway6 = netip.PrefixFrom(v6, b.IPv6.Bits()), b.IPv6.Addr()
	}
	return n
}

// eventually waits until f returns "", for at most the given time.
func eventually(t testing.TB, atMost time.Duration, f func() string) {
	t.Helper()
	end := time.Now().Add(atMost)
	for {
		msg := f()
		if msg == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(msg)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
