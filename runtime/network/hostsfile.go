package network

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
)

// A reservation's file is a line of dnsmasq's --dhcp-host: the hardware address,
// the IPv4 address if there is one, and the instance's name. A name that dnsmasq
// would take for something else in that place, a lease time or a keyword,
// follows as a comment instead.
//
//	00:16:3e:01:02:03,10.1.2.3,web
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

func (r Reservation) format() []byte {
	var s strings.Builder
	s.WriteString(r.HWAddr)
	if r.IPv4.IsValid() {
		s.WriteString("," + r.IPv4.String())
	}
	if notAName().MatchString(r.Instance) {
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
	if len(fields) < 2 || len(fields) > 3 {
		return Reservation{}, errors.New("invalid reservation: want a hardware address, an IPv4 address and a name")
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
	if notAName().MatchString(r.Instance) != commented {
		return Reservation{}, fmt.Errorf("invalid reservation: %q in the wrong place", r.Instance)
	}
	if len(fields) == 3 {
		if r.IPv4, err = netip.ParseAddr(fields[1]); err != nil || !r.IPv4.Is4() {
			return Reservation{}, fmt.Errorf("invalid reservation: %q is not an IPv4 address", fields[1])
		}
	}
	return r, nil
}
