package network

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// namesDir has a file for each reservation with the instance's name, in the form of
// /etc/hosts (hosts(5)), which dnsmasq answers with in both directions (--hostsdir).
func (b Bridge) namesDir() string { return filepath.Join(b.Dir, "names") }

// name is the file of a reservation.
func (b Bridge) name(r Reservation) []byte {
	var out bytes.Buffer
	for _, a := range []netip.Addr{r.IPv4, r.IPv6} {
		if a.IsValid() {
			fmt.Fprintf(&out, "%s %s.%s %s\n", a, r.Instance, b.domain(), r.Instance)
		}
	}
	return out.Bytes()
}

// formatNames are the names of all.
func (b Bridge) formatNames(all map[string]Reservation) []byte {
	var out []byte
	for _, hw := range slices.Sorted(maps.Keys(all)) {
		out = append(out, b.name(all[hw])...)
	}
	return out
}

// writeName writes the name of one reservation, of all that there are then.
func (b Bridge) writeName(r Reservation, all map[string]Reservation) error {
	if b.DNSMode != DNSManaged {
		return nil
	}
	if err := replaceFile(b.namesDir(), r.HWAddr, b.name(r)); err != nil {
		return err
	}
	return b.syncEtcHosts(all)
}

// removeName removes the name of a reservation that all has no more.
func (b Bridge) removeName(hwaddr string, all map[string]Reservation) error {
	if err := os.Remove(filepath.Join(b.namesDir(), hwaddr)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return b.syncEtcHosts(all)
}

// syncNames makes the names those of all reservations, and says whether dnsmasq has to
// read them again.
func (b Bridge) syncNames(all map[string]Reservation) (changed bool, err error) {
	if err := b.syncEtcHosts(all); err != nil {
		return false, err
	}
	if b.DNSMode != DNSManaged {
		return false, os.RemoveAll(b.namesDir())
	}
	have, err := readSmallFiles(b.namesDir())
	if err != nil {
		return false, err
	}
	for name := range have {
		if _, is := all[name]; is && !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(b.namesDir(), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		changed = true
	}
	for hw, r := range all {
		want := b.name(r)
		if text, is := have[hw]; is && bytes.Equal(text, want) {
			continue
		}
		if err := replaceFile(b.namesDir(), hw, want); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}
