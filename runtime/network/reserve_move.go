package network

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

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
