package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Pulse is what tells, at little cost, whether a network still is as Up has made it,
// and what of it would be another one if it were made anew.
type Pulse struct {
	// Alive: the bridge is there and up, and dnsmasq runs if it is to.
	Alive bool
	// Index is the bridge's (ip link); 0 when there is none.
	Index int
	// PID is dnsmasq's; 0 when it does not run.
	PID int
}

// Pulse takes it.
func (b Bridge) Pulse() (Pulse, error) {
	link, err := b.link()
	if err != nil {
		return Pulse{}, err
	}
	p, err := b.servingDnsmasq()
	if err != nil {
		return Pulse{}, err
	}
	var out Pulse
	if p != nil {
		out.PID = p.pid
		p.Close()
	}
	up := false
	if link != nil {
		out.Index, up = link.Attrs().Index, link.Attrs().RawFlags&unix.IFF_UP != 0
	}
	out.Alive = up && (out.PID != 0 || !b.servesAnything())
	return out, nil
}

// servesAnything says whether the network is to have a dnsmasq.
func (b Bridge) servesAnything() bool { return b.IPv4.IsValid() || b.IPv6.IsValid() }

// PIDFile is where dnsmasq's process id is, and ProcessDir the directory that is
// there as long as that process.
func (b Bridge) PIDFile() string { return b.pidFile() }

// ProcessDir is the directory of a process in /proc.
func ProcessDir(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid)) }

// IndexFile is the file with the index of an interface, whatever it is.
func IndexFile(link string) string { return filepath.Join("/sys/class/net", link, "ifindex") }

// IsJoined says whether an interface is on a bridge. One that is not there is no
// error: it is on none.
func IsJoined(port, bridge string) bool {
	target, err := os.Readlink(filepath.Join("/sys/class/net", port, "master"))
	return err == nil && filepath.Base(target) == bridge
}

// Join puts the host end of an instance's interface on its bridge again, after that
// was made anew. That the interface is gone is no error.
func Join(port, bridge string) error {
	link, err := netlink.LinkByName(port)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look up %s: %w", port, err)
	}
	master, err := netlink.LinkByName(bridge)
	if err == nil {
		err = netlink.LinkSetMaster(link, master)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot join %s to %s: %w", port, bridge, err)
	}
	return nil
}
