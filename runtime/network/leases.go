package network

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
)

// leased lists the IPv4 addresses that dnsmasq has given to hardware addresses
// other than hwaddr. Leases that have ended are listed until dnsmasq drops them
// from its file.
func (b Bridge) leased(hwaddr string) (map[netip.Addr]bool, error) {
	data, err := os.ReadFile(b.leaseFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := map[netip.Addr]bool{}
	for hw, addr := range parseLeases(data) {
		if hw != hwaddr {
			list[addr] = true
		}
	}
	return list, nil
}

// parseLeases reads dnsmasq's lease file: a line per lease with the time it
// ends, the hardware address, the IPv4 address, the host's name and the client's
// id (dnsmasq src/lease.c, read_leases). Lines that are not of this form, which
// those of DHCPv6 are not, are left out: the file is another program's, and is
// only asked which addresses to avoid.
func parseLeases(data []byte) map[string]netip.Addr {
	leases := map[string]netip.Addr{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		hw, err := parseHWAddr(fields[1])
		if err != nil {
			continue
		}
		addr, err := netip.ParseAddr(fields[2])
		if err != nil || !addr.Is4() {
			continue
		}
		leases[hw.String()] = addr
	}
	return leases
}
