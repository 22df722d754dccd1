package network

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ValidateDomain checks a domain that ends up in dnsmasq's configuration: labels
// of letters, digits, '-' and '_' (RFC 1035, 2.3.4; dnsmasq takes '_' too), with
// single dots in between.
func ValidateDomain(domain string) error {
	if len(domain) > 253 {
		return fmt.Errorf("invalid domain %q: longer than 253 characters", domain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("invalid domain %q", domain)
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return fmt.Errorf("invalid domain %q: %q is not allowed", domain, c)
			}
		}
	}
	return nil
}

// minExpiry is the least dnsmasq takes, in seconds (man dnsmasq, --dhcp-range).
const minExpiry = 120

// ValidateExpiry checks the time of a lease in dnsmasq's form: seconds, or a number
// with s, m, h, d or w, or "infinite"; at least two minutes.
func ValidateExpiry(text string) error {
	if text == "infinite" {
		return nil
	}
	digits, unit := text, uint64(1)
	if text != "" {
		if u, is := map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[text[len(text)-1]]; is {
			digits, unit = text[:len(text)-1], u
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || strings.HasPrefix(digits, "+") {
		return fmt.Errorf("%q is not a time: a number with s, m, h, d or w, or infinite", text)
	}
	switch total := n * unit; {
	case total < minExpiry:
		return fmt.Errorf("%q is too short: at least 2m", text)
	case total >= 1<<32-1: // 0xffffffff means infinite (RFC 2131, 3.3)
		return fmt.Errorf("%q is too long: use infinite", text)
	}
	return nil
}

// maxRaw bounds what a user appends to dnsmasq's configuration.
const maxRaw = 64 << 10

// ValidateRaw checks the form of what is appended to dnsmasq's configuration; what
// it means only dnsmasq knows (Bridge.CheckRaw).
func ValidateRaw(text string) error {
	if len(text) > maxRaw {
		return fmt.Errorf("longer than %d bytes", maxRaw)
	}
	if strings.ContainsRune(text, 0) {
		return errors.New("it contains a zero byte")
	}
	return nil
}
