package network

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
)

// ValidateName checks the name of a network, which is its bridge's name on the
// host: 2 to 15 characters (the kernel's IFNAMSIZ is 16 with the final NUL),
// letters, digits, '-', '_' and '.' only, not "." or "..". Incus's rule
// (validate.IsInterfaceName) and the kernel's (dev_valid_name in
// net/core/dev.c: no '/', ':' or white space) hold at the same time.
func ValidateName(name string) error {
	if len(name) < 2 {
		return fmt.Errorf("invalid interface name %q: shorter than 2 characters", name)
	}
	if len(name) > 15 {
		return fmt.Errorf("invalid interface name %q: longer than 15 characters", name)
	}
	if name == ".." {
		return fmt.Errorf("invalid interface name %q", name)
	}
	if name[0] == '-' {
		return fmt.Errorf("invalid interface name %q: begins with %q", name, "-")
	}
	for _, r := range name {
		if r > 0x7f || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return fmt.Errorf("invalid interface name %q: %q is not allowed", name, r)
		}
	}
	return nil
}

// hwPrefix is the block that Xen gave away for virtual machines; LXD and Incus
// take their addresses from it.
var hwPrefix = [3]byte{0x00, 0x16, 0x3e}

// RandomHWAddr returns a hardware address 00:16:3e:xx:xx:xx.
func RandomHWAddr() string {
	hw := net.HardwareAddr{hwPrefix[0], hwPrefix[1], hwPrefix[2], 0, 0, 0}
	_, _ = rand.Read(hw[3:]) // never fails: crypto/rand ends the process instead
	return hw.String()
}

// hostNamePrefix begins the names of the host ends of veth pairs.
const hostNamePrefix = "veth"

// RandomHostName returns a name for the host end of a veth pair: "veth" and 8
// hexadecimal digits.
func RandomHostName() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%s%x", hostNamePrefix, b)
}

// parseHWAddr parses a 48-bit unicast hardware address.
func parseHWAddr(s string) (net.HardwareAddr, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return nil, fmt.Errorf("invalid hardware address %q", s)
	}
	if hw[0]&1 != 0 {
		return nil, fmt.Errorf("invalid hardware address %q: it is a multicast address", s)
	}
	if hw.String() == "00:00:00:00:00:00" {
		return nil, fmt.Errorf("invalid hardware address %q", s)
	}
	return hw, nil
}

// IsHostName says whether name is one that RandomHostName gives.
func IsHostName(name string) bool {
	digits, ok := strings.CutPrefix(name, hostNamePrefix)
	return ok && len(digits) == 8 && strings.Trim(digits, "0123456789abcdef") == ""
}

// ValidateHWAddr checks a hardware address: 48 bits, of one host ("00:16:3e:01:02:03").
func ValidateHWAddr(s string) error {
	_, err := parseHWAddr(s)
	return err
}
