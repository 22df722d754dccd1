package tree

import (
	"encoding/json"
	"maps"
	"strings"
)

// asidePrefix is before the keys that are in a record for poolctl alone. LXD 5.0.2 takes any key below "user."; for one that it
// does not know, or whose value it cannot read, `lxd recover` would refuse all that is in the pool.
const asidePrefix = "user.poolctl.key."

// Config is the configuration in a record. It is written as LXD 5.0.2 takes it.
type Config map[string]string

// Devices are the devices in a record. They are written as LXD 5.0.2 takes them.
type Devices map[string]map[string]string

// PoolConfig is the configuration of a pool in a record, which `lxd recover` makes that of LXD's pool. It is written as LXD 5.0.2
// takes it.
type PoolConfig map[string]string

// MarshalJSON puts aside what LXD would not take.
func (c PoolConfig) MarshalJSON() ([]byte, error) {
	return json.Marshal(putAside(c, poolLXDValue))
}

// UnmarshalJSON takes back what was put aside.
func (c *PoolConfig) UnmarshalJSON(raw []byte) error {
	var keys map[string]string
	if err := json.Unmarshal(raw, &keys); err != nil {
		return err
	}
	takeBack(keys, poolLXDValue)
	*c = keys
	return nil
}

// MarshalJSON puts aside what LXD would not take.
func (c Config) MarshalJSON() ([]byte, error) {
	return json.Marshal(putAside(c, configLXDValue(c)))
}

// MarshalJSON puts aside what LXD would not take.
func (d Devices) MarshalJSON() ([]byte, error) {
	out := map[string]map[string]string(maps.Clone(d))
	for name, dev := range d {
		out[name] = putAside(dev, deviceLXDValue(dev))
	}
	return json.Marshal(out)
}

// lxdValue says what value LXD 5.0.2 takes for a key in the place of one that it may not take; false if it takes none.
type lxdValue func(key, value string) (taken string, ok bool)

// putAside is a map in which LXD takes every key. The map that is given is not changed.
func putAside(keys map[string]string, lxd lxdValue) map[string]string {
	var out map[string]string
	for key, value := range keys {
		taken, ok := lxd(key, value)
		if ok && taken == value {
			continue
		}
		if out == nil {
			out = maps.Clone(keys)
		}
		if out[asidePrefix+key] = value; ok {
			out[key] = taken
		} else {
			delete(out, key)
		}
	}
	if out == nil {
		return keys
	}
	return out
}

// takeBack undoes putAside, but for the keys that LXD has changed since.
func takeBack(keys map[string]string, lxd lxdValue) {
	for aside, value := range keys {
		key, is := strings.CutPrefix(aside, asidePrefix)
		if !is {
			continue
		}
		taken, ok := lxd(key, value)
		if ok && taken == value {
			continue // nothing that putAside has put there
		} else if keys[key] == taken {
			keys[key] = value
		}
		delete(keys, aside)
	}
}

// takeBackAll undoes putAside in the parts of a record.
func takeBackAll(configs []Config, devices []Devices) {
	for _, c := range configs {
		takeBack(c, asideLXDValue)
	}
	for _, d := range devices {
		for _, dev := range d {
			takeBack(dev, deviceLXDValue(dev))
		}
	}
}

// poolLXDValue is the lxdValue of the keys of a pool.
func poolLXDValue(key, value string) (string, bool) {
	switch key {
	case "size", "volume.size":
		return lxdSize(value), true
	case "btrfs.create_options", "btrfs.quotas", "compress", "reserve", "source.wipe", "trash.expiry", "volume.snapshots.retention":
		return "", false
	}
	if strings.HasPrefix(key, "images.") {
		return "", false
	}
	return value, true
}

// deviceLXDValue is the lxdValue of the keys of a device.
func deviceLXDValue(dev map[string]string) lxdValue {
	return func(key, value string) (string, bool) {
		switch dev["type"] {
		case "nic":
			return nicLXDValue(dev, key, value)
		case "disk":
			return diskLXDValue(dev, key, value)
		}
		return value, true
	}
}

func nicLXDValue(dev map[string]string, key, value string) (string, bool) {
	switch key {
	case "limits.priority", "mode":
		return "", false
	case "mtu":
		if dev["network"] != "" { // whose it is, then
			return "", false
		}
	case "ipv4.address", "ipv6.address":
		if value == "none" && !lxdTrue(dev["security."+strings.TrimSuffix(key, ".address")+"_filtering"]) {
			return "", false
		}
	}
	return value, true
}

func diskLXDValue(dev map[string]string, key, value string) (string, bool) {
	switch key {
	case "size":
		return lxdSize(value), true
	case "limits.read", "limits.write", "limits.max":
		return lxdSize(strings.TrimSuffix(value, "/s")), true
	case "recursive":
		if lxdTrue(value) && lxdTrue(dev["readonly"]) {
			return "", false
		}
	case "shift":
		if lxdTrue(value) && dev["pool"] != "" { // LXD shifts a volume by a key of the volume's
			return "", false
		}
	}
	return value, true
}
