package tree

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"poolctl/pool/bytesize"
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
	return json.Marshal(putAside(c, lxdValue))
}

// MarshalJSON puts aside what LXD would not take.
func (d Devices) MarshalJSON() ([]byte, error) {
	out := map[string]map[string]string(maps.Clone(d))
	for name, dev := range d {
		out[name] = putAside(dev, deviceLXDValue(dev))
	}
	return json.Marshal(out)
}

// putAside is a map in which LXD takes every key: lxdValue says what value it takes in the place of one, "" for none. The map
// that is given is not changed.
func putAside(keys map[string]string, lxdValue func(key, value string) string) map[string]string {
	var out map[string]string
	for key, value := range keys {
		taken := lxdValue(key, value)
		if taken == value {
			continue
		}
		if out == nil {
			out = maps.Clone(keys)
		}
		if out[asidePrefix+key] = value; taken != "" {
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
func takeBack(keys map[string]string, lxdValue func(key, value string) string) {
	for aside, value := range keys {
		key, is := strings.CutPrefix(aside, asidePrefix)
		if !is {
			continue
		}
		if taken := lxdValue(key, value); taken == value {
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
		takeBack(c, lxdValue)
	}
	for _, d := range devices {
		for _, dev := range d {
			takeBack(dev, deviceLXDValue(dev))
		}
	}
}

// lxdLacks are keys of instances of poolctl's and Incus's that LXD 5.0.2 does not know (shared/instance.go); one with a dot at
// the end stands for all that begin so.
var lxdLacks = []string{
	"boot.autorestart", "boot.host_shutdown_action", "cloud-init.ssh-keys.", "limits.cpu.nodes", "limits.memory.oom_priority",
	"security.guestapi", "security.guestapi.images", "security.protection.start", "snapshots.retention",
}

// lxdIntercepts are the system calls that LXD 5.0.2 knows how to intercept.
var lxdIntercepts = []string{"bpf", "mknod", "mount", "sched_setscheduler", "setxattr"}

// lxdValue is the value that LXD 5.0.2 takes for a key of an instance in the place of one that poolctl takes; "" if it takes none.
func lxdValue(key, value string) string {
	call, intercepts := strings.CutPrefix(key, "security.syscalls.intercept.")
	call, _, _ = strings.Cut(call, ".")
	switch {
	case intercepts && !slices.Contains(lxdIntercepts, call), slices.ContainsFunc(lxdLacks, func(lacks string) bool {
		return key == lacks || strings.HasSuffix(lacks, ".") && strings.HasPrefix(key, lacks)
	}):
		return ""
	case key == "limits.memory", strings.HasPrefix(key, "limits.hugepages."):
		return lxdSize(value)
	case key == "limits.memory.swap" && !lxdTrue(value) && !lxdFalse(value): // no size
		return ""
	case key == "security.idmap.size" && value == "auto":
		return ""
	}
	return value
}

// poolLXDValue is lxdValue for the keys of a pool.
func poolLXDValue(key, value string) string {
	switch key {
	case "size", "volume.size":
		return lxdSize(value)
	case "btrfs.create_options", "btrfs.quotas", "compress", "reserve", "source.wipe", "trash.expiry", "volume.snapshots.retention":
		return ""
	}
	if strings.HasPrefix(key, "images.") {
		return ""
	}
	return value
}

// deviceLXDValue is lxdValue for the keys of a device.
func deviceLXDValue(dev map[string]string) func(key, value string) string {
	return func(key, value string) string {
		switch dev["type"] {
		case "nic":
			return nicLXDValue(dev, key, value)
		case "disk":
			return diskLXDValue(dev, key, value)
		}
		return value
	}
}

func nicLXDValue(dev map[string]string, key, value string) string {
	switch key {
	case "limits.priority", "mode":
		return ""
	case "mtu":
		if dev["network"] != "" { // whose it is, then
			return ""
		}
	case "ipv4.address", "ipv6.address":
		if value == "none" && !lxdTrue(dev["security."+strings.TrimSuffix(key, ".address")+"_filtering"]) {
			return ""
		}
	}
	return value
}

func diskLXDValue(dev map[string]string, key, value string) string {
	switch key {
	case "size", "limits.read", "limits.write", "limits.max":
		return lxdSize(value)
	case "recursive":
		if lxdTrue(value) && lxdTrue(dev["readonly"]) {
			return ""
		}
	case "shift":
		if lxdTrue(value) && dev["pool"] != "" { // LXD shifts a volume by a key of the volume's
			return ""
		}
	}
	return value
}

// lxdSize is a size without a fraction and spaces, which LXD does not read.
func lxdSize(value string) string {
	if !strings.ContainsAny(value, ". ") {
		return value
	}
	n, err := bytesize.Parse(value)
	if err != nil { // none at all, as a percentage
		return value
	}
	return strconv.FormatInt(n, 10)
}

// lxdTrue and lxdFalse say whether LXD reads a value as one of them (shared.IsTrue).
func lxdTrue(value string) bool {
	return slices.Contains([]string{"true", "1", "yes", "on"}, strings.ToLower(value))
}

func lxdFalse(value string) bool {
	return slices.Contains([]string{"", "false", "0", "no", "off"}, strings.ToLower(value))
}
