package pool

import (
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/state"
	"poolctl/runtime/network"
)

// NetworkKey is one key of the configuration of networks, those of Incus's bridge
// networks.
type NetworkKey struct {
	Name    string
	Default string // what holds when it is not set, in words; "" for nothing
	About   string // what it says
	// check says what is wrong with a value, which is never "".
	check func(value string) error
	// set puts a checked value into the live side.
	set func(b *network.Bridge, value string)
}

// NetworkKeys are all keys that poolctl knows, besides user.*.
func NetworkKeys() []NetworkKey {
	return slices.Concat(bridgeKeys(), ipv4Keys(), ipv6Keys(), dnsKeys())
}

// findNetworkKey is the registry's entry of a key; every user.* has one.
func findNetworkKey(name string) (NetworkKey, error) {
	if isUserKey(name) {
		return NetworkKey{Name: name, check: anyValue}, nil
	}
	keys := NetworkKeys()
	if i := slices.IndexFunc(keys, func(k NetworkKey) bool { return k.Name == name }); i >= 0 {
		return keys[i], nil
	}
	err := fmt.Errorf("unknown key %q", name)
	for prefix, why := range map[string]string{
		"tunnel.": "there are no tunnels to other hosts", "bgp.": "there is no BGP", "security.acls": "there are no network ACLs",
		"dns.zone.": "there are no DNS zones", "ovn.": "there is no OVN", "ipv4.ovn.": "there is no OVN", "ipv6.ovn.": "there is no OVN",
		"bridge.driver": "bridges are the kernel's", "fan.": "there are no fan networks", "maas.": "there is no MAAS",
	} {
		if strings.HasPrefix(name, prefix) {
			return NetworkKey{}, withHint(err, "%s", why)
		}
	}
	names := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return NetworkKey{}, withHint(err, "the keys are %s and user.*", strings.Join(names, ", "))
}

// checkNetworkKeys validates keys and values one by one. An empty value is no value
// and always right.
func checkNetworkKeys(config map[string]string) error {
	for _, name := range sortedKeys(config) {
		k, err := findNetworkKey(name)
		if err != nil {
			return err
		}
		if v := config[name]; v != "" {
			if err := k.check(v); err != nil {
				return fmt.Errorf("%s=%s: %w", name, shellWord(v), err)
			}
		}
	}
	return nil
}

// bridge is the live side of a network record.
func (s *System) bridge(rec state.NetworkRecord) (network.Bridge, error) {
	b := s.bareBridge(rec.Name)
	b.Routing4, b.Routing6, b.Firewall4, b.Firewall6, b.DHCP4, b.DHCP6 = true, true, true, true, true, true
	b.Isolated = true
	for _, name := range sortedKeys(rec.Config) {
		k, err := findNetworkKey(name)
		v := rec.Config[name]
		if err == nil && v != "" {
			err = k.check(v)
		}
		if err != nil {
			return b, fmt.Errorf("cannot read %s of network %s: %w", name, rec.Name, err)
		}
		if v != "" && k.set != nil {
			k.set(&b, v)
		}
	}
	var err error
	if b.Forwards, err = forwardRules(rec.Forwards); err != nil {
		return b, fmt.Errorf("network %s: %w", rec.Name, err)
	}
	return b, nil
}
