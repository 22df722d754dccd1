package pool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"poolctl/runtime/network"
)

// nicKey is one key of devices of type nic: which kinds have it, and what it
// takes (https://linuxcontainers.org/incus/docs/main/reference/devices_nic/).
type nicKey struct {
	name  string
	kinds []network.Kind
	// check says what is wrong with a value, which is never "".
	check func(value string) error
	// live says that a change takes effect in an instance that runs while the
	// interface stays; others have it taken away and given anew.
	live bool
	// refused says that it is one of Incus's that poolctl has not, for a reason that
	// check gives.
	refused bool
}

// noNICKey is the check of such a key.
func noNICKey(why string) func(string) error {
	return func(string) error { return errors.New(why) }
}

// nicKinds are the values of nictype.
var nicKinds = []network.Kind{network.Bridged, network.Macvlan, network.P2P, network.Physical, network.Routed}

// nicKeys are all keys of nics.
func nicKeys() []nicKey {
	pairs := []network.Kind{network.Bridged, network.P2P, network.Routed} // those with an end on the host
	bridged, routed := []network.Kind{network.Bridged}, []network.Kind{network.Routed}
	keys := []nicKey{
		{name: "nictype", kinds: nicKinds, check: checkNICType},
		{name: "network", kinds: bridged, check: anyValue},
		{name: "parent", kinds: []network.Kind{network.Bridged, network.Macvlan, network.Physical, network.Routed}, check: network.ValidateName},
		{name: "name", kinds: nicKinds, check: checkInnerName},
		{name: "hwaddr", kinds: nicKinds, check: network.ValidateHWAddr},
		{name: "mtu", kinds: nicKinds, check: checkNICMTU, live: true},
		{name: "host_name", kinds: pairs, check: network.ValidateName},
		{name: "mode", kinds: []network.Kind{network.Macvlan}, check: oneOf("bridge", "vepa", "passthru", "private")},
		{name: "vlan", refused: true, kinds: nicKinds, check: func(string) error {
			return withHint(errors.New("VLANs are not made by poolctl"), "ip link add link PARENT name PARENT.ID type vlan id ID, and parent=PARENT.ID")
		}},
		{name: "vlan.tagged", refused: true, kinds: nicKinds, check: noNICKey("VLANs are not made by poolctl")},
		{name: "gvrp", refused: true, kinds: nicKinds, check: noNICKey("VLANs are not made by poolctl")},
		{name: "security.acls", refused: true, kinds: nicKinds, check: noNICKey("there are no network ACLs")},
		{name: "ipv4.routes.external", refused: true, kinds: nicKinds, check: noNICKey("it is for OVN and BGP, and there is neither")},
		{name: "ipv6.routes.external", refused: true, kinds: nicKinds, check: noNICKey("it is for OVN and BGP, and there is neither")},
		{name: "queue.tx.length", refused: true, kinds: nicKinds, check: noNICKey("poolctl leaves it to the kernel")},
		{name: "limits.ingress", kinds: pairs, check: checkBits, live: true},
		{name: "limits.egress", kinds: pairs, check: checkBits, live: true},
		{name: "limits.max", kinds: pairs, check: checkBits, live: true},
		{name: "limits.priority", kinds: pairs, check: func(v string) error { _, err := parseWithin(v, 0, 1<<32-1); return err }, live: true},
		{name: "boot.priority", refused: true, kinds: nicKinds, check: noNICKey("it is for virtual machines")},
		{name: "security.mac_filtering", kinds: bridged, check: checkBool, live: true},
		{name: "security.ipv4_filtering", kinds: bridged, check: checkBool, live: true},
		{name: "security.ipv6_filtering", kinds: bridged, check: checkBool, live: true},
		{name: "security.port_isolation", kinds: bridged, check: checkBool, live: true},
	}
	for _, f := range ipFamilies {
		keys = append(keys,
			nicKey{name: f.key + ".address", kinds: bridged, check: f.checkAddress},
			nicKey{name: f.key + ".address", kinds: routed, check: f.checkAddresses},
			nicKey{name: f.key + ".routes", kinds: pairs, check: f.checkRoutes, live: true},
			nicKey{name: f.key + ".gateway", kinds: routed, check: oneOf("auto", "none")},
			nicKey{name: f.key + ".host_address", kinds: routed, check: f.checkHost},
			nicKey{name: f.key + ".host_table", kinds: routed, check: func(v string) error { _, err := parseWithin(v, 1, 1<<31-1); return err }},
			nicKey{name: f.key + ".neighbor_probe", kinds: routed, check: checkBool},
		)
	}
	return keys
}

// nicKeysOf are the names of the keys of one kind.
func nicKeysOf(kind network.Kind) []string {
	var out []string
	for _, k := range nicKeys() {
		if slices.Contains(k.kinds, kind) && !k.refused {
			out = append(out, k.name)
		}
	}
	return out
}

// checkNICKeys validates the keys of a nic, each by itself.
func checkNICKeys(dev map[string]string) error {
	kind := nicKind(dev)
	if kind == "" {
		return withHint(errors.New("it has neither network nor nictype"), "network=NAME (poolctl network list), or nictype=%s", kindList())
	}
	for _, name := range sortedKeys(dev) {
		value := dev[name]
		if name == "type" || isUserKey(name) || value == "" {
			continue
		}
		key, err := findNICKey(name, kind)
		if err != nil {
			return err
		}
		if err := key.check(value); err != nil {
			return fmt.Errorf("%s=%s: %w", name, shellWord(value), err)
		}
	}
	return nil
}

// findNICKey is the registry's entry of a key of one kind.
func findNICKey(name string, kind network.Kind) (nicKey, error) {
	var others []string
	for _, k := range nicKeys() {
		if k.name == name && slices.Contains(k.kinds, kind) {
			return k, nil
		}
		if k.name == name {
			for _, o := range k.kinds {
				others = append(others, string(o))
			}
		}
	}
	hint := strings.Join(nicKeysOf(kind), ", ")
	if hint == "" {
		return nicKey{}, withHint(fmt.Errorf("unknown nictype %s", shellWord(string(kind))), "nictype is bridged, p2p, macvlan, physical or routed; network=NAME needs none")
	}
	if len(others) > 0 {
		return nicKey{}, withHint(fmt.Errorf("%s is for nictype=%s, and this is %s", name, strings.Join(others, " or "), kind), "the keys of a %s nic are %s", kind, hint)
	}
	return nicKey{}, withHint(fmt.Errorf("unknown key %q", name), "the keys of a %s nic are %s", kind, hint)
}

// nicKind is what connects a nic; "" when it does not say.
func nicKind(dev map[string]string) network.Kind {
	if dev["network"] != "" {
		return network.Bridged
	}
	return network.Kind(dev["nictype"])
}

func kindList() string {
	var names []string
	for _, k := range nicKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func checkNICType(v string) error {
	if !slices.Contains(nicKinds, network.Kind(v)) {
		return withHint(errors.New("there is no such kind"), "the kinds are %s", kindList())
	}
	return nil
}

// checkInnerName takes a name of an interface inside; Incus's rule, and not the
// loopback's.
func checkInnerName(v string) error {
	if v == "lo" {
		return errors.New("it is the loopback's")
	}
	return network.ValidateName(v)
}

// checkNICMTU takes what IPv6 needs at least, and what the kernel's interfaces can
// have at most; for IPv4 alone, less (RFC 791) would do, as in Incus.
func checkNICMTU(v string) error {
	_, err := parseWithin(v, 68, 65535)
	return err
}

func checkBits(v string) error { _, err := parseBits(v); return err }

// parseBits reads limits.ingress and the like: bits in a second, "100Mbit"
// (Incus, "Units for storage and network limits").
func parseBits(v string) (uint64, error) {
	bad := withHint(errors.New("not a number of bits in a second"), "bits, or with a unit: 500kbit, 100Mbit, 1Gbit, 1Gibit")
	i := strings.IndexFunc(v, func(c rune) bool { return c < '0' || c > '9' })
	unit := ""
	if i >= 0 {
		v, unit = v[:i], strings.TrimSpace(v[i:])
	}
	n, err := strconv.ParseUint(v, 10, 64)
	factor := map[string]uint64{
		"": 1, "bit": 1, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9, "Tbit": 1e12, "Pbit": 1e15, "Ebit": 1e18,
		"Kibit": 1 << 10, "Mibit": 1 << 20, "Gibit": 1 << 30, "Tibit": 1 << 40, "Pibit": 1 << 50, "Eibit": 1 << 60,
	}[unit]
	if err != nil || factor == 0 || n == 0 || n > (1<<63)/factor {
		return 0, bad
	}
	if n*factor < 8000 { // less than a packet in two seconds
		return 0, errors.New("less than 8kbit")
	}
	return n * factor, nil
}

// oneOf is the check of a key with few values.
func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("neither %s", strings.Join(values, " nor "))
		}
		return nil
	}
}

// ipFamily is IPv4 or IPv6, for keys that both have.
type ipFamily struct {
	key, name string
	is        func(netip.Addr) bool
}

var ipFamilies = []ipFamily{
	{"ipv4", "IPv4", netip.Addr.Is4},
	{"ipv6", "IPv6", func(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }},
}

// parse reads one address that a host can have.
func (f ipFamily) parse(v string) (netip.Addr, error) {
	a, err := netip.ParseAddr(v)
	if err != nil || !f.is(a) {
		return netip.Addr{}, fmt.Errorf("%q is not an %s address", v, f.name)
	}
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("%s is no host's address", a)
	}
	return a, nil
}

// checkAddress takes an address, or none.
func (f ipFamily) checkAddress(v string) error {
	if v == "none" {
		return nil
	}
	_, err := f.parse(v)
	return err
}

// checkHost takes an address of the host's side.
func (f ipFamily) checkHost(v string) error { _, err := f.parse(v); return err }

// addresses reads a list.
func (f ipFamily) addresses(v string) (out []netip.Addr, err error) {
	for _, word := range wordsOf(v) {
		a, err := f.parse(word)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, a) {
			return nil, fmt.Errorf("%s is there twice", a)
		}
		out = append(out, a)
	}
	return out, nil
}

func (f ipFamily) checkAddresses(v string) error { _, err := f.addresses(v); return err }

// routes reads a list of networks.
func (f ipFamily) routes(v string) (out []netip.Prefix, err error) {
	for _, word := range wordsOf(v) {
		p, err := netip.ParsePrefix(word)
		if err != nil || !f.is(p.Addr()) {
			return nil, fmt.Errorf("%q is not an %s network", word, f.name)
		}
		if p != p.Masked() {
			return nil, withHint(fmt.Errorf("%s is an address in a network", p), "the network is %s", p.Masked())
		}
		if p.Bits() == 0 {
			return nil, errors.New("a default route would cut off the host")
		}
		if slices.Contains(out, p) {
			return nil, fmt.Errorf("%s is there twice", p)
		}
		out = append(out, p)
	}
	return out, nil
}

func (f ipFamily) checkRoutes(v string) error { _, err := f.routes(v); return err }

// sameHWAddr says whether two hardware addresses are the same, however written.
func sameHWAddr(a, b string) bool {
	x, err1 := net.ParseMAC(a)
	y, err2 := net.ParseMAC(b)
	return err1 == nil && err2 == nil && x.String() == y.String()
}

// wordsOf are the words of a list; none of an empty one.
func wordsOf(v string) []string {
	if v == "" {
		return nil
	}
	return splitList(v)
}
