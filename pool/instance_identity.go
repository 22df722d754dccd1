package pool

import (
	"strings"

	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

const (
	volatilePrefix = "volatile."
	hwaddrSuffix   = ".hwaddr"
)

// describesRoot says whether a volatile key tells what is on the disk, which is
// the copy's too.
func describesRoot(key string) bool {
	return key == "volatile.base_image" || key == "volatile.last_state.idmap" || key == "volatile.idmap.base"
}

// identity is what tells an instance from its copies, by volatile key. Each
// value is made up when it is asked for first.
type identity struct {
	values map[string]string
}

func newIdentity() *identity { return &identity{values: map[string]string{}} }

// value is the value of one key: a hardware address, a name on the host or a UUID.
func (i *identity) value(key string) string {
	if v, ok := i.values[key]; ok {
		return v
	}
	switch {
	case strings.HasSuffix(key, hwaddrSuffix):
		i.values[key] = network.RandomHWAddr()
	case strings.HasSuffix(key, hostNameSuffix):
		i.values[key] = network.RandomHostName()
	default:
		i.values[key] = newUUID()
	}
	return i.values[key]
}

// adapt puts the identity into the configuration of a copy, or of a snapshot of
// one, so that nothing makes it a second instance of the source. What the user gave
// a nic that only one can have goes too.
func (i *identity) adapt(config map[string]string, devices map[string]map[string]string) {
	for _, dev := range devices {
		if dev["type"] == "nic" {
			for _, k := range []string{"hwaddr", "host_name", "ipv4.address", "ipv6.address"} {
				delete(dev, k)
			}
		}
	}
	for key := range config {
		if isIdentity(key) {
			config[key] = i.value(key)
		}
	}
}

// identityOf is that of an instance, for what is to stay it.
func identityOf(in tree.Instance) *identity {
	i := newIdentity()
	for k, v := range in.Config {
		if isIdentity(k) {
			i.values[k] = v
		}
	}
	return i
}

// stay gives a record that is restored what the instance is known by now, its hardware
// addresses for instance, and whether it runs: a snapshot may be older than that, and
// says of itself whether it ran when it was made.
func (s *System) stay(present tree.Instance, restored *tree.Instance) error {
	for key, v := range present.Config {
		nic, _, _ := strings.Cut(strings.TrimPrefix(key, volatilePrefix), ".")
		_, plugged := restored.ExpandedDevices[nic]
		if isIdentity(key) && (plugged || !isOfNIC(key)) {
			restored.Config[key] = v
		}
	}
	if v, set := present.Config[powerKey]; set {
		restored.Config[powerKey] = v
	} else {
		delete(restored.Config, powerKey)
	}
	return s.reexpandKnown(restored)
}

// isOfNIC says whether a volatile key tells a nic from others.
func isOfNIC(key string) bool {
	return strings.HasSuffix(key, hwaddrSuffix) || strings.HasSuffix(key, hostNameSuffix)
}

// isIdentity says whether a volatile key tells an instance from its copies.
func isIdentity(key string) bool {
	if !strings.HasPrefix(key, volatilePrefix) {
		return false
	}
	return isOfNIC(key) || key == "volatile.uuid" || key == "volatile.cloud-init.instance-id"
}
