package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Range is a range of addresses, both ends included.
type Range struct {
	First, Last netip.Addr
}

func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Contains says whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }

// Overlaps says whether an address is in both ranges.
func (r Range) Overlaps(o Range) bool { return r.Contains(o.First) || o.Contains(r.First) }

// maxRanges bounds a list of ranges.
const maxRanges = 64

// ParseRanges reads ranges of IPv4 or IPv6 addresses in Incus's form, "FIRST-LAST"
// separated by commas, with spaces around them.
func ParseRanges(text string, ipv4 bool) ([]Range, error) {
	var list []Range
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		first, last, ok := strings.Cut(word, "-")
		if !ok {
			return nil, fmt.Errorf("%q is no range of addresses: want FIRST-LAST", word)
		}
		var r Range
		for _, end := range []struct {
			text string
			addr *netip.Addr
		}{{first, &r.First}, {last, &r.Last}} {
			a, err := ParseAddr(strings.TrimSpace(end.text), ipv4)
			if err != nil {
				return nil, err
			}
			*end.addr = a
		}
		if r.Last.Less(r.First) {
			return nil, fmt.Errorf("%q is no range of addresses: its first is above its last", word)
		}
		if list = append(list, r); len(list) > maxRanges {
			return nil, fmt.Errorf("more than %d ranges", maxRanges)
		}
	}
	return list, nil
}

// ParseAddr reads an address of one family, without a zone.
func ParseAddr(text string, ipv4 bool) (netip.Addr, error) {
	family := "IPv6"
	if ipv4 {
		family = "IPv4"
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != ipv4 || a.Is4In6() || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an %s address", text, family)
	}
	return a, nil
}

// size4 is how many addresses an IPv4 range has.
func (r Range) size4() uint32 { return toUint32(r.Last) - toUint32(r.First) + 1 }

func toUint32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
