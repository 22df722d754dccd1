package network

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

type physical struct{}

// HostSettings are what an instance can change of an interface of the host's.
type HostSettings struct {
	Name   string `json:"name"`
	HWAddr string `json:"hwaddr"`
	MTU    int    `json:"mtu"`
	Up     bool   `json:"up"`
	// Index is the interface's on the host, Inside the one that it gets inside: the
	// only thing by which it is found again whatever the instance does to it.
	Index  int `json:"index"`
	Inside int `json:"inside"`
}

// hostSettings are those that the host's interface has now.
func hostSettings(name string) (*HostSettings, error) {
	link, err := hostLink(&netlink.Handle{}, name)
	if err != nil {
		return nil, err
	}
	a := link.Attrs()
	if a.Flags&net.FlagLoopback != 0 {
		return nil, fmt.Errorf("%s is the loopback", name)
	}
	if a.MasterIndex != 0 {
		return nil, fmt.Errorf("%s is a port of another interface of the host's", name)
	}
	var b [4]byte
	_, _ = rand.Read(b[:])                                             // never fails: crypto/rand ends the process instead
	inside := int(binary.NativeEndian.Uint32(b[:])&0x3fffffff) | 1<<30 // far from those that the kernel gives
	return &HostSettings{Name: a.Name, HWAddr: a.HardwareAddr.String(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Index: a.Index, Inside: inside}, nil
}

func (physical) attach(_ context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (_ netlink.Link, err error) {
	if n.Was == nil {
		return nil, errors.New("how it is on the host was not noted")
	}
	link, err := hostLink(host, n.Was.Name)
	if err != nil {
		return nil, err
	}
	if err := move(link.Attrs().Index, ns, n.Name, n.Was.Inside); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, physical{}.detach(n, ns))
		}
	}()
	inner, err := guest.LinkByIndex(n.Was.Inside)
	if err != nil {
		return nil, fmt.Errorf("cannot find %s inside: %w", n.Name, err)
	}
	hw, err := n.hwAddr()
	if err == nil && hw != nil {
		err = guest.LinkSetHardwareAddr(inner, hw)
	}
	if err == nil && n.MTU != 0 {
		err = guest.LinkSetMTU(inner, n.MTU)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot set up %s inside: %w", n.Name, err)
	}
	return inner, nil
}

// move moves a link of the calling thread's network namespace to another, where it
// has that name and index, in one request.
func move(index int, to *os.File, name string, newIndex int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(to.Fd()))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if newIndex != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_NEW_IFINDEX, nl.Uint32Attr(uint32(newIndex))))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return fmt.Errorf("cannot move the interface to be %s there: %w", name, err)
	}
	return nil
}

// detach gives the interface back, with the settings that it had.
func (physical) detach(n NIC, ns *os.File) error {
	if n.Was == nil {
		return nil
	}
	if ns != nil {
		if err := bringBack(n, ns); err != nil {
			return err
		}
	}
	return restoreHost(*n.Was, n.Name)
}

// bringBack moves the interface to the calling process's network namespace; that it
// is not in ns is no error.
func bringBack(n NIC, ns *os.File) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("cannot open the own network namespace: %w", err)
	}
	defer home.Close()
	return inNetNS(ns, func() error {
		link, err := netlink.LinkByIndex(n.Was.Inside)
		if isNotFound(err) {
			return nil
		}
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			return fmt.Errorf("cannot take it from the instance: %w", err)
		}
		index := link.Attrs().Index
		err = move(index, home, n.Was.Name, n.Was.Index)
		if errors.Is(err, unix.EBUSY) { // the host has given its index to another
			err = move(index, home, n.Was.Name, 0)
		}
		if errors.Is(err, unix.EEXIST) {
			spare := "phys" + RandomHostName()[len(hostNamePrefix):]
			err = errors.Join(fmt.Errorf("the host has another %s now, so that it is called %s", n.Was.Name, spare), move(index, home, spare, 0))
		}
		return err
	})
}

// inNetNS calls do on a thread in a network namespace.
func inNetNS(ns *os.File, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot open the own network namespace: %w", err)
			return
		}
		defer own.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("cannot enter the network namespace: %w", err)
			return
		}
		err = do()
		// Should it not come home, the thread ends with the goroutine: see handleAt.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// strayTime is how long is waited for the kernel to give back what the instance had
// put out of reach: it does so when the last namespace with it ends.
const strayTime = 2 * time.Second

// restoreHost gives an interface that is on the host its settings again. inside is the
// name that it had: under that the kernel gives it back. One that is nowhere any more,
// unplugged for instance, needs none.
func restoreHost(was HostSettings, inside string) error {
	link, err := returned(was, inside)
	for end := time.Now().Add(strayTime); isNotFound(err) && time.Now().Before(end); link, err = returned(was, inside) {
		time.Sleep(20 * time.Millisecond)
	}
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot find the host's interface %s again: %w", was.Name, err)
	}
	a := link.Attrs()
	if a.Name != was.Name || a.HardwareAddr.String() != was.HWAddr {
		if err := netlink.LinkSetDown(link); err != nil {
			return fmt.Errorf("cannot take down %s: %w", a.Name, err)
		}
	}
	if a.Name != was.Name {
		if err := netlink.LinkSetName(link, was.Name); err != nil {
			return fmt.Errorf("cannot rename %s to %s: %w", a.Name, was.Name, err)
		}
	}
	if hw, err := net.ParseMAC(was.HWAddr); err == nil && a.HardwareAddr.String() != was.HWAddr {
		if err := netlink.LinkSetHardwareAddr(link, hw); err != nil {
			return fmt.Errorf("cannot set the hardware address of %s: %w", was.Name, err)
		}
	}
	if a.MTU != was.MTU {
		if err := netlink.LinkSetMTU(link, was.MTU); err != nil {
			return fmt.Errorf("cannot set the MTU of %s: %w", was.Name, err)
		}
	}
	if was.Up {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("cannot bring up %s: %w", was.Name, err)
		}
	}
	return nil
}

// returned finds an interface that was an instance's on the host: by the index that
// it had on either side, or by its hardware address under the name of inside or one
// that the kernel makes up ("dev7").
func returned(was HostSettings, inside string) (netlink.Link, error) {
	link, err := netlink.LinkByName(was.Name)
	if err == nil || !isNotFound(err) {
		return link, err
	}
	for _, index := range []int{was.Inside, was.Index} {
		other, ierr := netlink.LinkByIndex(index)
		if ierr == nil && (index == was.Inside || other.Attrs().HardwareAddr.String() == was.HWAddr) {
			return other, nil
		}
	}
	links, lerr := dump(netlink.LinkList)
	if lerr != nil {
		return nil, lerr
	}
	for _, l := range links {
		if a := l.Attrs(); (a.PermHWAddr.String() == was.HWAddr || a.HardwareAddr.String() == was.HWAddr) && (a.Name == inside || a.Name == fmt.Sprintf("dev%d", a.Index)) {
			return l, nil
		}
	}
	return nil, err
}
