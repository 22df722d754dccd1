package match

import (
	"net/netip"
	"regexp"
	"strings"
)

// Value says whether the pattern, a regular expression that has to match the
// whole value unless it is anchored itself, matches. What is no regular
// expression is compared as text.
func Value(pattern, value string) bool {
	if pattern == value {
		return true
	}
	expr := pattern
	if !strings.ContainsAny(pattern, "^$") {
		expr = "^(?:" + pattern + ")$"
	}
	re, err := regexp.Compile(expr)
	return err == nil && re.MatchString(value)
}

// ValueFold is Value without regard to upper and lower case.
func ValueFold(pattern, value string) bool {
	return strings.EqualFold(pattern, value) || Value("(?i)"+pattern, value)
}

// Key says whether short abbreviates the dotted key full: as many parts, each
// the beginning of the other's ("u.blah" for "user.blah").
func Key(short, full string) bool {
	s, f := strings.Split(short, "."), strings.Split(full, ".")
	if len(s) != len(f) {
		return false
	}
	for i := range f {
		if !strings.HasPrefix(f[i], s[i]) {
			return false
		}
	}
	return true
}

// Pairs says whether some entry of the map has a key that is key, or is
// abbreviated by it, and a value that the pattern matches.
func Pairs(key, pattern string, pairs map[string]string) bool {
	if v, ok := pairs[key]; ok {
		return Value(pattern, v)
	}
	for k, v := range pairs {
		if Key(key, k) && Value(pattern, v) {
			return true
		}
	}
	return false
}

// Name says whether a bare filter names the instance: it begins with the
// filter, or the filter is a regular expression that matches it whole.
func Name(filter, name string) bool {
	return strings.HasPrefix(name, filter) || Value(filter, name)
}

// Address says whether one of the addresses is the one of the query, or lies in
// its subnet.
func Address(query string, addresses []string) bool {
	prefix, err := netip.ParsePrefix(query)
	if err != nil {
		addr, err := netip.ParseAddr(query)
		if err != nil {
			return false
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	for _, a := range addresses {
		if addr, err := netip.ParseAddr(a); err == nil && prefix.Masked().Contains(addr) {
			return true
		}
	}
	return false
}
