package firewall

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// host is a network namespace beside the tests' own, with one interface.
type host struct {
	pid    int
	v4, v6 netip.Addr
	link   string // the other end of its interface
	hw     net.HardwareAddr
}

// newHost makes a namespace whose eth0 is the peer of link. It ends with the test.
func newHost(t testing.TB, link, v4, v6 string) *host {
	t.Helper()
	cmd := exec.Command("busybox", "sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	h := &host{pid: cmd.Process.Pid, link: link, v4: netip.MustParsePrefix(v4).Addr(), v6: netip.MustParsePrefix(v6).Addr()}
	h.within(t, noDAD)
	run(t, "ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(h.pid))
	t.Cleanup(func() { run(t, "ip", "link", "delete", link) })
	run(t, "ip", "link", "set", link, "up")
	h.run(t, "ip", "link", "set", "lo", "up")
	h.run(t, "ip", "link", "set", "eth0", "up")
	h.run(t, "ip", "address", "add", v4, "dev", "eth0")
	h.run(t, "ip", "address", "add", v6, "dev", "eth0", "nodad")
	h.within(t, func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			h.hw = i.HardwareAddr
		}
		return err
	})
	return h
}

// noDAD has addresses usable at once.
func noDAD() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
}

func (h *host) run(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, append([]string{"nsenter", "-t", fmt.Sprint(h.pid), "-n"}, args...)...)
}

// within runs f in the host's namespace; sockets made there stay in it.
func (h *host) within(t testing.TB, f func() error) {
	t.Helper()
	check(t, h.try(f))
}

func (h *host) try(f func() error) error {
	if h == nil { // the tests' own namespace
		return f()
	}
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			ch <- err
			return
		}
		defer own.Close()
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		// The thread must not end: it may be the one that started a host's process,
		// which has a parent-death signal.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		ch <- err
	}()
	return <-ch
}

// serve answers everyone who connects, or sends a datagram, with the address
// that the client has for the server.
func (h *host) serve(t testing.TB, port int) {
	t.Helper()
	address := fmt.Sprintf(":%d", port)
	h.within(t, func() error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "%d %s", port, host4(c.RemoteAddr()))
				_ = c.Close()
			}
		}()
		p, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = p.Close() })
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := p.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = p.WriteTo([]byte(fmt.Sprintf("%d %s", port, host4(from))), from)
			}
		}()
		return nil
	})
}

func host4(a net.Addr) netip.Addr {
	return netip.MustParseAddrPort(a.String()).Addr().Unmap().WithZone("")
}

// ask connects and returns the answer: the server's own port and the client's
// address there; "" and an error when there is none.
func (h *host) ask(network string, to netip.Addr, port int) (string, error) {
	var answer string
	err := h.try(func() error {
		c, err := net.DialTimeout(network, netip.AddrPortFrom(to, uint16(port)).String(), time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if network == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return err
			}
			b := make([]byte, 64)
			n, err := c.Read(b)
			answer = string(b[:n])
			return err
		}
		b, err := io.ReadAll(c)
		answer = string(b)
		return err
	})
	return answer, err
}

// asks fails unless the answer comes, and from a client of that address.
func (h *host) asks(t testing.TB, network string, to netip.Addr, port int, want string) {
	t.Helper()
	if got, err := h.ask(network, to, port); err != nil || got != want {
		t.Errorf("%s to %s port %d: answer %q, want %q (%v)", network, to, port, got, want, err)
	}
}

// refused fails if an answer comes.
func (h *host) refused(t testing.TB, network string, to netip.Addr, port int) {
	t.Helper()
	if got, err := h.ask(network, to, port); err == nil {
		t.Errorf("%s to %s port %d: there is an answer: %q", network, to, port, got)
	}
}

// world is the tests' own namespace as a host with two networks, an uplink and
// somebody outside.
type world struct {
	a, b       Network
	a1, a2, b1 *host
	outside    *host
	up4, up6   netip.Addr // of the uplink
	brA4, brA6 netip.Addr
	brB4       netip.Addr
}

func newWorld(t testing.TB) *world {
	t.Helper()
	check(t, noDAD())
	w := &world{up4: netip.MustParseAddr("198.51.100.1"), up6: netip.MustParseAddr("2001:db8:100::1")}
	w.a = testBridge(t, "brA", "10.77.1.1/24", "fd42:77:1::1/64")
	w.b = testBridge(t, "brB", "10.77.2.1/24", "fd42:77:2::1/64")
	w.brA4, w.brA6, w.brB4 = w.a.IPv4.Address.Addr(), w.a.IPv6.Address.Addr(), w.b.IPv4.Address.Addr()
	w.a1 = testGuest(t, w.a, "vA1", "10.77.1.11/24", "fd42:77:1::11/64")
	w.a2 = testGuest(t, w.a, "vA2", "10.77.1.12/24", "fd42:77:1::12/64")
	w.b1 = testGuest(t, w.b, "vB1", "10.77.2.11/24", "fd42:77:2::11/64")
	w.outside = newHost(t, "up0", "198.51.100.2/24", "2001:db8:100::2/64")
	run(t, "ip", "address", "add", "198.51.100.1/24", "dev", "up0")
	run(t, "ip", "address", "add", "2001:db8:100::1/64", "dev", "up0", "nodad")
	w.outside.gateway(t, "198.51.100.1", "2001:db8:100::1")
	check(t, EnableForwarding(true))
	check(t, EnableForwarding(false))
	for _, h := range []*host{w.a1, w.a2, w.b1, w.outside, nil} {
		h.serve(t, 7000)
	}
	return w
}

func (h *host) gateway(t testing.TB, v4, v6 string) {
	t.Helper()
	h.run(t, "ip", "route", "add", "default", "via", v4)
	h.run(t, "ip", "-6", "route", "add", "default", "via", v6)
}

func testBridge(t testing.TB, name, v4, v6 string) Network {
	t.Helper()
	run(t, "ip", "link", "add", name, "type", "bridge")
	t.Cleanup(func() { run(t, "ip", "link", "delete", name) })
	run(t, "ip", "link", "set", name, "up", "group", fmt.Sprint(LinkGroup))
	run(t, "ip", "address", "add", v4, "dev", name)
	run(t, "ip", "address", "add", v6, "dev", name, "nodad")
	t.Cleanup(func() { check(t, Remove(name)) })
	family := func(p string) Family {
		return Family{Address: netip.MustParsePrefix(p), NAT: true, Filter: true, Routing: true}
	}
	return Network{Bridge: name, Isolated: true, IPv4: family(v4), IPv6: family(v6)}
}

func testGuest(t testing.TB, n Network, link, v4, v6 string) *host {
	t.Helper()
	h := newHost(t, link, v4, v6)
	run(t, "ip", "link", "set", link, "master", n.Bridge)
	h.gateway(t, n.IPv4.Address.Addr().String(), n.IPv6.Address.Addr().String())
	return h
}

// apply sets the rules of both networks.
func (w *world) apply(t testing.TB) {
	t.Helper()
	check(t, w.a.Apply())
	check(t, w.b.Apply())
}
