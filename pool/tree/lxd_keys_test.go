package tree

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// asideConfig and asideDevices have keys and values that LXD 5.0.2 refuses.
var (
	asideConfig = Config{
		"snapshots.retention": "24 hourly", "cloud-init.ssh-keys.me": "root:k", "security.syscalls.intercept.sysinfo": "false",
		"limits.memory": "1.5GiB", "limits.hugepages.2MB": "2 MB", "limits.memory.swap": "1GiB", "security.idmap.size": "auto",
	}
	asideDevices = Devices{
		"root": {"type": "disk", "path": "/", "pool": "p", "size": "0.5GiB"},
		"d":    {"type": "disk", "path": "/d", "source": "/s", "readonly": "true", "recursive": "true", "limits.max": "1.5MB"},
		"v":    {"type": "disk", "path": "/v", "source": "v", "pool": "p", "shift": "true"},
		"eth0": {"type": "nic", "network": "n", "mtu": "1400", "limits.priority": "1", "ipv4.address": "none", "ipv6.address": "none", "security.ipv6_filtering": "true"},
		"eth1": {"type": "nic", "nictype": "macvlan", "parent": "n", "mtu": "1400", "mode": "vepa"},
	}
)

// What LXD would refuse is in a record below "user.", and under its own name for who reads it, in snapshots as well.
func TestKeysThatLXDRefuses(t *testing.T) {
	config := maps.Clone(asideConfig)
	maps.Copy(config, Config{"limits.memory.enforce": "soft", "security.syscalls.intercept.mknod": "true", "security.nesting": "true", "user.x": "1.5"})
	pool := PoolConfig{"size": "1.5GiB", "compress": "zstd", "trash.expiry": "3d", "images.originals": "true", "volume.size": "10 MB", "btrfs.mount_options": "noatime", "source": "/a"}
	in := Instance{Pool: &PoolInfo{Name: "p", Config: pool}, Name: "c1", Config: config, ExpandedConfig: config, Devices: asideDevices, ExpandedDevices: asideDevices}
	snap := Snapshot{Name: "s1", Config: config, Devices: asideDevices}
	raw, err := encoded(newDocument(), &in, entriesOf([]Snapshot{snap}))
	if err != nil {
		t.Fatal(err)
	}
	type keys struct {
		Config  map[string]string
		Devices map[string]map[string]string
	}
	var is struct {
		Container keys
		Snapshots []keys
		Pool      keys
	}
	if err := yaml.Unmarshal(raw, &is); err != nil {
		t.Fatal(err)
	}
	want := keys{
		Config: map[string]string{
			"limits.memory": "1610612736", "limits.hugepages.2MB": "2000000", "limits.memory.enforce": "soft",
			"security.syscalls.intercept.mknod": "true", "security.nesting": "true", "user.x": "1.5",
		},
		Devices: map[string]map[string]string{
			"root": {"type": "disk", "path": "/", "pool": "p", "size": "536870912", asidePrefix + "size": "0.5GiB"},
			"d":    {"type": "disk", "path": "/d", "source": "/s", "readonly": "true", asidePrefix + "recursive": "true", "limits.max": "1500000", asidePrefix + "limits.max": "1.5MB"},
			"v":    {"type": "disk", "path": "/v", "source": "v", "pool": "p", asidePrefix + "shift": "true"},
			"eth0": {"type": "nic", "network": "n", asidePrefix + "mtu": "1400", asidePrefix + "limits.priority": "1", asidePrefix + "ipv4.address": "none", "ipv6.address": "none", "security.ipv6_filtering": "true"},
			"eth1": {"type": "nic", "nictype": "macvlan", "parent": "n", "mtu": "1400", asidePrefix + "mode": "vepa"},
		},
	}
	for key, value := range asideConfig {
		want.Config[asidePrefix+key] = value
	}
	for _, got := range append(is.Snapshots, is.Container) {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	wantPool := map[string]string{
		"size": "1610612736", asidePrefix + "size": "1.5GiB", asidePrefix + "compress": "zstd", asidePrefix + "trash.expiry": "3d", asidePrefix + "images.originals": "true",
		"volume.size": "10000000", asidePrefix + "volume.size": "10 MB", "btrfs.mount_options": "noatime", "source": "/a",
	}
	if diff := cmp.Diff(wantPool, is.Pool.Config); diff != "" {
		t.Error(diff)
	}
	rec, err := decodeRecord(raw, whole)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pool, rec.Container.Pool.Config); diff != "" {
		t.Error(diff)
	}
	for _, got := range []Instance{*rec.Container, {Config: rec.entries[0].Config, Devices: rec.entries[0].Devices}} {
		if diff := cmp.Diff(config, got.Config) + cmp.Diff(asideDevices, got.Devices); diff != "" {
			t.Error(diff)
		}
	}
}

// What LXD has set since, or taken away, is so; and a key below "user." that was never put aside stays one.
func TestKeysThatLXDChanges(t *testing.T) {
	c := Config{
		"limits.memory": "1GiB", asidePrefix + "limits.memory": "1.5GiB", asidePrefix + "limits.hugepages.2MB": "1.5MB",
		asidePrefix + "security.privileged": "true", asidePrefix + "boot.autorestart": "true",
	}
	takeBack(c, lxdValue)
	want := Config{"limits.memory": "1GiB", asidePrefix + "security.privileged": "true", "boot.autorestart": "true"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}
