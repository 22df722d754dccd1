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
)

// namesFile has the names of the network's instances in the form of /etc/hosts
// (hosts(5)). dnsmasq answers with them, in both directions.
func (b Bridge) namesFile() string { return filepath.Join(b.Dir, "names") }

// writeNames writes the namesFile, if it is to be another one.
func (b Bridge) writeNames(all map[string]Reservation) error {
	if b.DNSMode != DNSManaged {
		if err := os.Remove(b.namesFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return b.syncEtcHosts(nil)
	}
	want := b.formatNames(all)
	if err := b.syncEtcHosts(want); err != nil {
		return err
	}
	if have, err := os.ReadFile(b.namesFile()); err == nil && bytes.Equal(have, want) {
		return nil
	}
	return replaceFile(b.Dir, filepath.Base(b.namesFile()), want)
}

// formatNames is the content of the namesFile.
func (b Bridge) formatNames(all map[string]Reservation) []byte {
	var out bytes.Buffer
	for _, hw := range slices.Sorted(maps.Keys(all)) {
		r := all[hw]
		for _, a := range []netip.Addr{r.IPv4, r.IPv6} {
			if a.IsValid() {
				fmt.Fprintf(&out, "%s %s.%s %s\n", a, r.Instance, b.domain(), r.Instance)
			}
		}
	}
	return out.Bytes()
}
