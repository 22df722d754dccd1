package network

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// A reservation's file is a line of dnsmasq's --dhcp-host: the hardware address,
// the addresses that there are, and the instance's name. A name that the DHCP
// server is not to give, or that dnsmasq would take for something else in that
// place, a lease time or a keyword, follows as a comment instead.
//
//	00:16:3e:01:02:03,10.1.2.3,[fd42:1:2:3:216:3eff:fe01:203],web
//
//	00:16:3e:01:02:03,10.1.2.3
//	# 1h

// maxReservation limits a reservation's file: one line.
const maxReservation = 512

var (
	instanceName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`) })
	notAName     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9.]+[smhdw]?|infinite|ignore|deprecated)$`) })
)

// validateInstance checks that a name can stand in a reservation: 1 to 63
// letters, digits, '-', '_' and '.', the first and last a letter or digit.
func validateInstance(name string) error {
	if !instanceName().MatchString(name) {
		return fmt.Errorf("invalid instance name %q", name)
	}
	return nil
}

// format is the file of a reservation; without named its name is a comment.
func (r Reservation) format(named bool) []byte {
	var s strings.Builder
	s.WriteString(r.HWAddr)
	if r.IPv4.IsValid() {
		s.WriteString("," + r.IPv4.String())
	}
	if r.IPv6.IsValid() {
		s.WriteString(",[" + r.IPv6.String() + "]")
	}
	if !named || notAName().MatchString(r.Instance) {
		s.WriteString("\n# ")
	} else {
		s.WriteString(",")
	}
	s.WriteString(r.Instance + "\n")
	return []byte(s.String())
}

// parseReservation reads what format writes, and nothing else.
func parseReservation(data []byte) (Reservation, error) {
	if len(data) > maxReservation {
		return Reservation{}, fmt.Errorf("invalid reservation: longer than %d bytes", maxReservation)
	}
	line, ok := strings.CutSuffix(string(data), "\n")
	if !ok {
		return Reservation{}, errors.New("invalid reservation: no end of line")
	}
	line, comment, commented := strings.Cut(line, "\n# ")
	fields := strings.Split(line, ",")
	if commented {
		fields = append(fields, comment)
	}
	if len(fields) < 2 {
		return Reservation{}, errors.New("invalid reservation: want a hardware address, addresses and a name")
	}
	var r Reservation
	hw, err := parseHWAddr(fields[0])
	if err != nil {
		return Reservation{}, err
	}
	r.HWAddr = hw.String()
	r.Instance = fields[len(fields)-1]
	if err := validateInstance(r.Instance); err != nil {
		return Reservation{}, err
	}
	if notAName().MatchString(r.Instance) && !commented {
		return Reservation{}, fmt.Errorf("invalid reservation: %q in the wrong place", r.Instance)
	}
	addrs := fields[1 : len(fields)-1]
	if len(addrs) > 0 && !strings.HasPrefix(addrs[0], "[") {
		if r.IPv4, err = ParseAddr(addrs[0], true); err != nil {
			return Reservation{}, fmt.Errorf("invalid reservation: %w", err)
		}
		addrs = addrs[1:]
	}
	if len(addrs) > 0 {
		inner, closed := strings.CutSuffix(strings.TrimPrefix(addrs[0], "["), "]")
		if r.IPv6, err = ParseAddr(inner, false); err != nil || !closed {
			return Reservation{}, fmt.Errorf("invalid reservation: %q is not an IPv6 address in brackets", addrs[0])
		}
		addrs = addrs[1:]
	}
	if len(addrs) > 0 {
		return Reservation{}, errors.New("invalid reservation: want a hardware address, addresses and a name")
	}
	return r, nil
}
