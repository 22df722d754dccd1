package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Reservation is what is kept for one hardware address.
type Reservation struct {
	HWAddr     string     // "00:16:3e:01:02:03"
	Instance   string     // the instance that has it
	IPv4, IPv6 netip.Addr // the zero Addr when the network gives none of that family
}

// ErrExhausted says that every address of a network is reserved.
var ErrExhausted = errors.New("all of its addresses are reserved")

// Ask is what an interface of an instance is to have of a network.
type Ask struct {
	Device string // for errors; may be empty
	HWAddr string
	// IPv4 and IPv6 are addresses that it shall have; the zero Addr leaves it to the
	// network.
	IPv4, IPv6 netip.Addr
}

// Reserve is ReserveAll for one interface.
func (b Bridge) Reserve(instance, hwaddr string, fixed4, fixed6 netip.Addr) (v4, v6 netip.Addr, err error) {
	list, err := b.ReserveAll(instance, []Ask{{HWAddr: hwaddr, IPv4: fixed4, IPv6: fixed6}})
	if err != nil {
		return netip.Addr{}, netip.Addr{}, err
	}
	return list[0].IPv4, list[0].IPv6, nil
}

// ReserveAll returns the addresses of an instance's interfaces, in the order of the
// asks, reserving them first when that is still to be done: all or none. What these
// have reserved so far does not count, so that two can have each other's addresses.
// While nothing is asked for, the same hardware address always gets the same
// addresses, as long as the network's subnets and ranges stay the same. No two get the
// same one. The IPv6 address is the one that SLAAC forms of the hardware address,
// unless DHCPv6 gives it from ranges. An address of a family that the network does not
// have, or that the instance is to see to itself (DHCP4), is the zero Addr.
func (b Bridge) ReserveAll(instance string, asks []Ask) ([]Reservation, error) {
	list, failed, err := b.reserve(instance, asks)
	if err != nil {
		err = fmt.Errorf("cannot reserve an address of network %s: %w", b.Name, err)
		if failed < len(asks) && asks[failed].Device != "" {
			err = fmt.Errorf("device %s: %w", asks[failed].Device, err)
		}
		return nil, err
	}
	return list, nil
}

// reserve says on an error at which of the asks it failed.
func (b Bridge) reserve(instance string, asks []Ask) (list []Reservation, failed int, err error) {
	if err := b.Validate(); err != nil {
		return nil, 0, err
	}
	if err := validateInstance(instance); err != nil {
		return nil, 0, err
	}
	unlock, err := b.lockHosts()
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	all, _, err := b.readReservations(true)
	if err != nil {
		return nil, 0, err
	}
	list, old, failed, err := b.choose(instance, asks, all)
	if err != nil {
		return nil, failed, err
	}
	var changed []Reservation
	for _, r := range list {
		if was, had := old[r.HWAddr]; !had || was != r {
			changed = append(changed, r)
		}
	}
	if len(changed) == 0 {
		return list, 0, nil
	}
	return list, 0, b.changeReservations(func() error {
		if err := b.writeTogether(changed, old, all); err != nil {
			return err
		}
		if len(old) == 0 { // dnsmasq sees new files by itself
			return nil
		}
		return b.reloadDnsmasq()
	})
}

// writeTogether writes reservations and their names, all or none: old are those that
// they replace, all has them in it.
func (b Bridge) writeTogether(list []Reservation, old, all map[string]Reservation) error {
	for i, r := range list {
		err := b.writeReservation(r)
		if err == nil {
			i++ // written, to be taken back as well
			err = b.writeName(r, all)
		}
		if err != nil {
			return errors.Join(err, b.takeBack(list[:i], old, all))
		}
	}
	return nil
}

// takeBack undoes writeTogether.
func (b Bridge) takeBack(list []Reservation, old, all map[string]Reservation) error {
	for _, r := range list {
		delete(all, r.HWAddr)
		if was, had := old[r.HWAddr]; had {
			all[r.HWAddr] = was
		}
	}
	var errs []error
	for _, r := range list {
		if was, had := old[r.HWAddr]; had {
			errs = append(errs, b.writeReservation(was), b.writeName(was, all))
			continue
		}
		if err := os.Remove(filepath.Join(b.hostsDir(), r.HWAddr)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		errs = append(errs, b.removeName(r.HWAddr, all))
	}
	return errors.Join(errs...)
}

// choose puts what is asked for into all reservations, in place of what the same
// hardware addresses had there, old.
func (b Bridge) choose(instance string, asks []Ask, all map[string]Reservation) (list []Reservation, old map[string]Reservation, failed int, err error) {
	old = map[string]Reservation{}
	list = make([]Reservation, len(asks))
	hws := make([]net.HardwareAddr, len(asks))
	for i, a := range asks { // what one asks for, no other is given
		if hws[i], err = parseHWAddr(a.HWAddr); err != nil {
			return nil, nil, i, err
		}
		list[i] = Reservation{HWAddr: hws[i].String(), Instance: instance, IPv4: a.IPv4, IPv6: a.IPv6}
		if was, had := all[list[i].HWAddr]; had {
			old[list[i].HWAddr] = was
		}
		all[list[i].HWAddr] = list[i]
	}
	for i, a := range asks {
		r := &list[i]
		delete(all, r.HWAddr)
		if r.IPv4, err = b.chooseIPv4(r.HWAddr, a.IPv4, old[r.HWAddr].IPv4, all); err != nil {
			return nil, nil, i, err
		}
		if r.IPv6, err = b.chooseIPv6(hws[i], a.IPv6, old[r.HWAddr].IPv6, all); err != nil {
			return nil, nil, i, err
		}
		all[r.HWAddr] = *r
	}
	return list, old, 0, nil
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
	return b.changeReservations(func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := syncDir(b.hostsDir()); err != nil {
			return err
		}
		all, _, err := b.readReservations(true)
		if err != nil {
			return err
		}
		return errors.Join(b.removeName(hw.String(), all), b.reloadDnsmasq())
	})
}
