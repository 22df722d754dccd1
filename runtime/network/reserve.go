package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// Reservation is what is kept for one hardware address.
type Reservation struct {
	HWAddr     string     // "00:16:3e:01:02:03"
	Instance   string     // the instance that has it
	IPv4, IPv6 netip.Addr // the zero Addr when the network gives none of that family
}

// hostsDir has one file per reservation, which dnsmasq reads as well
// (--dhcp-hostsdir).
func (b Bridge) hostsDir() string { return filepath.Join(b.Dir, "hosts") }

// tempPrefix begins the names of files being written; dnsmasq leaves out
// names that begin with a dot.
const tempPrefix = ".new-"

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
		if delete(all, r.HWAddr); old[r.HWAddr].HWAddr != "" {
			all[r.HWAddr] = old[r.HWAddr]
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

// SetReservations gives hardware addresses other addresses, those of them that have
// any by now.
func (b Bridge) SetReservations(list []Reservation) error {
	if err := b.setReservations(list); err != nil {
		return fmt.Errorf("cannot change the reservations of network %s: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) setReservations(list []Reservation) error {
	unlock, err := b.lockHosts()
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.forgetSynced(); err != nil {
		return err
	}
	_, texts, err := b.readReservations(true)
	if err != nil {
		return err
	}
	changed, err := b.rewrite(list, texts)
	if err != nil || !changed {
		return err
	}
	return b.reloadDnsmasq()
}

// rewrite writes the reservations that have another text now, and says whether there
// was one. Those without a text were given up.
func (b Bridge) rewrite(list []Reservation, texts map[string][]byte) (changed bool, err error) {
	for _, r := range list {
		if text, is := texts[r.HWAddr]; !is || bytes.Equal(text, r.format(b.DNSMode == DNSManaged)) {
			continue
		}
		if err := b.writeReservation(r); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// syncReservations makes the reservations those of the network as it is now, after
// a change of its subnets or of what is known of names. Where they are that already, it
// does not read them.
func (b Bridge) syncReservations() error {
	unlock, err := b.lockHosts()
	if err != nil {
		return err
	}
	defer unlock()
	if is, err := b.isSynced(); err != nil || is {
		return err
	}
	all, texts, err := b.readReservations(true)
	if err != nil {
		return err
	}
	moved, err := b.MovedReservations(slices.Collect(maps.Values(all)))
	if err != nil {
		return err
	}
	changed, err := b.rewrite(moved, texts)
	if err != nil {
		return err
	}
	for _, r := range moved {
		all[r.HWAddr] = r
	}
	renamed, err := b.syncNames(all)
	if err != nil {
		return err
	}
	if changed || renamed {
		if err := b.reloadDnsmasq(); err != nil {
			return err
		}
	}
	return b.noteSynced()
}

// MovedReservations are what becomes of reservations, all that there are, on the
// network as it is now. Nothing is changed.
func (b Bridge) MovedReservations(list []Reservation) ([]Reservation, error) {
	list = slices.SortedFunc(slices.Values(list), func(x, y Reservation) int { return strings.Compare(x.HWAddr, y.HWAddr) })
	all := map[string]Reservation{}
	for _, r := range list {
		all[r.HWAddr] = r
	}
	for i, r := range list {
		to, err := b.moved(r, all)
		if err != nil {
			return nil, err
		}
		list[i], all[r.HWAddr] = to, to
	}
	return list, nil
}

// moved is a reservation on the network as it is now. An address in its subnets
// stays, also outside the ranges: the instance may have asked for it.
func (b Bridge) moved(r Reservation, all map[string]Reservation) (Reservation, error) {
	old4, old6 := r.IPv4, r.IPv6
	stays4 := old4.IsValid() && b.IPv4.IsValid() && b.isHost(old4) && old4 != b.IPv4.Addr()
	stays6 := old6.IsValid() && b.IPv6.IsValid() && b.IPv6.Contains(old6) && old6 != b.IPv6.Addr()
	if stays4 && stays6 {
		return r, nil
	}
	others := maps.Clone(all)
	delete(others, r.HWAddr)
	hw, err := parseHWAddr(r.HWAddr)
	if err == nil && !stays4 {
		r.IPv4, err = b.chooseIPv4(r.HWAddr, netip.Addr{}, old4, others)
	}
	if err == nil && !stays6 {
		r.IPv6, err = b.chooseIPv6(hw, netip.Addr{}, old6, others)
	}
	return r, err
}

// Reservations lists the reservations in no particular order.
func (b Bridge) Reservations() ([]Reservation, error) {
	all, _, err := b.readReservations(false)
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
	dirs := []string{b.hostsDir()}
	if b.DNSMode == DNSManaged {
		dirs = append(dirs, b.namesDir())
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	l := flock.New(filepath.Join(b.Dir, ".hosts.lock"))
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("cannot lock the reservations: %w", err)
	}
	return func() { _ = l.Close() }, nil // closing the file gives up the lock, whatever it returns
}

// readReservations reads all reservations and their files, by hardware address. With
// clean, for which the lock must be held, it removes what a killed process or a power
// loss left half written.
func (b Bridge) readReservations(clean bool) (all map[string]Reservation, texts map[string][]byte, err error) {
	files, err := readSmallFiles(b.hostsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	all, texts = map[string]Reservation{}, map[string][]byte{}
	for name, data := range files {
		path := filepath.Join(b.hostsDir(), name)
		// A file system may have a renamed file before its content.
		if strings.HasPrefix(name, tempPrefix) || len(bytes.Trim(data, "\x00")) == 0 {
			if clean {
				err = os.Remove(path)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, nil, err
			}
			continue
		}
		r, err := parseReservation(data)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read %s: %w", path, err)
		}
		all[r.HWAddr], texts[r.HWAddr] = r, data
	}
	return all, texts, nil
}

// writeReservation replaces one reservation's file.
func (b Bridge) writeReservation(r Reservation) error {
	return replaceFile(b.hostsDir(), r.HWAddr, r.format(b.DNSMode == DNSManaged))
}

// replaceFile replaces a file of a directory: written aside, then renamed. Nothing
// waits for the disk, which would be most of what a start spends on the network: a
// reservation that a power loss takes, readReservations leaves out, and the next
// start makes it again, with the same addresses unless another has got them since.
func replaceFile(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	// dnsmasq reads it without root's rights.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
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
