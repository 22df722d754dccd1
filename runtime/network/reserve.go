package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// Reservation is an address kept for one hardware address.
type Reservation struct {
	HWAddr   string     // "00:16:3e:01:02:03"
	Instance string     // the instance that has it
	IPv4     netip.Addr // the zero Addr when the network has no IPv4
}

// hostsDir has one file per reservation, which dnsmasq reads as well
// (--dhcp-hostsdir).
func (b Bridge) hostsDir() string { return filepath.Join(b.Dir, "hosts") }

// tempPrefix begins the names of files being written; dnsmasq leaves out
// names that begin with a dot.
const tempPrefix = ".new-"

// ErrExhausted says that every address of a network is reserved.
var ErrExhausted = errors.New("all of its addresses are reserved")

// Reserve returns the addresses of an instance's interface with that hardware
// address, reserving the IPv4 one first when that is still to be done. The same
// hardware address always gets the same addresses while the network's subnets
// stay the same; no two get the same one. IPv6 needs no record: the address is
// the one that SLAAC forms of the hardware address. An address of a family that
// the network does not have is the zero Addr.
func (b Bridge) Reserve(instance, hwaddr string) (v4, v6 netip.Addr, err error) {
	v4, v6, err = b.reserve(instance, hwaddr)
	if err != nil {
		return netip.Addr{}, netip.Addr{}, fmt.Errorf("cannot reserve an address of network %s: %w", b.Name, err)
	}
	return v4, v6, nil
}

func (b Bridge) reserve(instance, hwaddr string) (v4, v6 netip.Addr, err error) {
	if err := b.Validate(); err != nil {
		return v4, v6, err
	}
	hw, err := parseHWAddr(hwaddr)
	if err != nil {
		return v4, v6, err
	}
	if err := validateInstance(instance); err != nil {
		return v4, v6, err
	}
	if b.IPv6.IsValid() {
		v6 = eui64(b.IPv6, hw)
	}
	unlock, err := b.lockHosts()
	if err != nil {
		return v4, v6, err
	}
	defer unlock()
	all, err := b.readReservations(true)
	if err != nil {
		return v4, v6, err
	}
	want := Reservation{HWAddr: hw.String(), Instance: instance}
	old, exists := all[want.HWAddr]
	delete(all, want.HWAddr)
	if b.IPv4.IsValid() {
		want.IPv4, err = b.chooseIPv4(want.HWAddr, old.IPv4, all)
		if err != nil {
			return v4, v6, err
		}
	}
	if !exists || old != want {
		if err := b.writeReservation(want); err != nil {
			return v4, v6, err
		}
		if err := b.reloadDnsmasq(); err != nil {
			return v4, v6, err
		}
	}
	return want.IPv4, v6, nil
}

// chooseIPv4 keeps the old address if that is still the network's and nobody
// else's; else it takes the first free one from the place that the hardware
// address hashes to. Addresses that dnsmasq still has on lease to a hardware
// address without a reservation are taken only when no other is left, because
// dnsmasq does not offer them to anybody else until the lease ends.
func (b Bridge) chooseIPv4(hwaddr string, old netip.Addr, others map[string]Reservation) (netip.Addr, error) {
	taken := map[netip.Addr]bool{b.IPv4.Addr(): true}
	for _, r := range others {
		taken[r.IPv4] = true
	}
	if old.IsValid() && b.isHost(old) && !taken[old] {
		return old, nil
	}
	leased, err := b.leased(hwaddr)
	if err != nil {
		return netip.Addr{}, err
	}
	base := b.IPv4.Masked().Addr().As4()
	first := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	hosts := hostMask(b.IPv4) - 1 // without the network's and the broadcast address
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(hwaddr)) // never fails
	start := hash.Sum32()
	for _, avoidLeased := range []bool{true, false} {
		for i := range hosts {
			addr := fromUint32(first + 1 + (start%hosts+i)%hosts)
			if !taken[addr] && (!avoidLeased || !leased[addr]) {
				return addr, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: %w", b.IPv4.Masked(), ErrExhausted)
}

// isHost says whether an address is one that an instance can have.
func (b Bridge) isHost(a netip.Addr) bool {
	return b.IPv4.Contains(a) && a != b.IPv4.Masked().Addr() && a != broadcast(b.IPv4)
}

// Release gives up the reservation of a hardware address. It is not an error
// when there is none.
func (b Bridge) Release(hwaddr string) error {
	if err := b.release(hwaddr); err != nil {
		return fmt.Errorf("cannot release the address of %s in network %s: %w", hwaddr, b.Name, err)
	}
	return nil
}

func (b Bridge) release(hwaddr string) error {
	if err := b.Validate(); err != nil {
		return err
	}
	hw, err := parseHWAddr(hwaddr)
	if err != nil {
		return err
	}
	path := filepath.Join(b.hostsDir(), hw.String())
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := b.lockHosts()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncDir(b.hostsDir()); err != nil {
		return err
	}
	return b.reloadDnsmasq()
}

// Reservations lists the reservations in no particular order.
func (b Bridge) Reservations() ([]Reservation, error) {
	all, err := b.readReservations(false)
	if err != nil {
		return nil, fmt.Errorf("cannot list the reservations of network %s: %w", b.Name, err)
	}
	list := make([]Reservation, 0, len(all))
	for _, r := range all {
		list = append(list, r)
	}
	return list, nil
}

// lockHosts makes the directory of the reservations and serialises changes in
// it between processes. It is held for a few file operations only.
func (b Bridge) lockHosts() (func(), error) {
	if err := os.MkdirAll(b.hostsDir(), 0o755); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(b.Dir, ".hosts.lock"))
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("cannot lock the reservations: %w", err)
	}
	return func() { _ = l.Close() }, nil // closing the file gives up the lock, whatever it returns
}

// readReservations reads all reservations, by hardware address. With clean, for
// which the lock must be held, it removes what a killed process left half
// written.
func (b Bridge) readReservations(clean bool) (map[string]Reservation, error) {
	entries, err := os.ReadDir(b.hostsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	all := map[string]Reservation{}
	for _, e := range entries {
		path := filepath.Join(b.hostsDir(), e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			if clean && strings.HasPrefix(e.Name(), tempPrefix) {
				if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
					return nil, err
				}
			}
			continue
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := parseReservation(data)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		all[r.HWAddr] = r
	}
	return all, nil
}

// writeReservation replaces one reservation's file: written aside, synced, then
// renamed.
func (b Bridge) writeReservation(r Reservation) (err error) {
	f, err := os.CreateTemp(b.hostsDir(), tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(r.format())
	// dnsmasq reads it without root's rights.
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(b.hostsDir(), r.HWAddr)); err != nil {
		return err
	}
	return syncDir(b.hostsDir())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// reloadDnsmasq makes a running dnsmasq read the reservations again (SIGHUP, see
// man dnsmasq, NOTES). It sees new files by itself, but neither removed nor
// changed ones. One that is just starting is left alone: it has yet to read
// them, and the signal would end it before it has set its handler.
func (b Bridge) reloadDnsmasq() error {
	p, err := b.servingDnsmasq()
	if err != nil || p == nil {
		return err
	}
	defer p.Close()
	return p.signal(context.Background(), unix.SIGHUP)
}
