package tree

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// lxdTakes and lxdRefuses are what a real LXD 5.0.2 says of keys of a container, and of their values.
var (
	lxdTakes = [][2]string{
		{"user.x", "1"},
		{"image.x", "1"},
		{"environment.x", "1"},
		{"limits.kernel.nofile", "5"},
		{"linux.sysctl.a", "1"},
		{"linux.kernel_modules", "a"},
		{"volatile.eth0.hwaddr", "x"},
		{"volatile.eth0.last_state.vf.vlan", "1"},
		{"volatile.eth0.last_state.created", "1"},
		{"volatile.gpu.vgpu.uuid", "1"},
		{"volatile.root.apply_quota", "1"},
		{"volatile.last_state.power", "RUNNING"},
		{"volatile.idmap.next", "[]"},
		{"volatile.name", "x"},
		{"volatile.uuid", "CFD2C04B-1996-49c2-a312-d6f3e67cd23d"},
		{"volatile.uuid", "cfd2c04b199649c2a312d6f3e67cd23d"},
		{"volatile.vsock_id", "3"},
		{"boot.autostart", "ON"},
		{"boot.autostart.priority", "9999999999999"},
		{"boot.autostart.delay", "-1"},
		{"cluster.evacuate", "live-migrate"},
		{"limits.cpu", "2"},
		{"limits.cpu", "0-1,3"},
		{"limits.cpu", "5,8-6"},
		{"limits.cpu", "6-2,3"},
		{"limits.cpu.allowance", "10%"},
		{"limits.cpu.allowance", "10ms/100"},
		{"limits.memory", "50%"},
		{"limits.memory", "101%"},
		{"limits.memory", "0100MiB"},
		{"limits.memory", "7EiB"},
		{"limits.memory", "1kB"},
		{"limits.memory", "5B"},
		{"limits.hugepages.64KB", "0"},
		{"limits.memory.swap", "no"},
		{"limits.cpu.priority", "10"},
		{"limits.network.priority", "5"},
		{"limits.processes", "-1"},
		{"migration.incremental.memory.goal", "5"},
		{"nvidia.runtime", "false"},
		{"raw.lxc", "lxc.log.level = 1"},
		{"raw.idmap", "both 1000 1000"},
		{"security.devlxd", "true"},
		{"security.idmap.base", "4294967295"},
		{"security.syscalls.blacklist", "x"},
		{"security.syscalls.intercept.mount.fuse", "ext4=fuse2fs"},
		{"snapshots.schedule", "@HOURLY, 0 6 * * SUN"},
		{"snapshots.schedule", "*/5 1-3 1,2 JAN ?"},
		{"snapshots.expiry", "1M 2d"},
		{"snapshots.expiry", "0d"},
		{"snapshots.pattern", "{{"},
		{"cloud-init.network-config", "a: b"},
		{"cloud-init.user-data", "#!/bin/sh\nx: ["},
		{"cloud-init.vendor-data", "#cloud-config\n# none"},
	}
	lxdRefuses = [][2]string{
		{"volatile.uuid.generation", "x"},
		{"volatile.last_state.ready", "true"},
		{"volatile.cpu.nodes", "0"},
		{"volatile.container.oci", "true"},
		{"volatile.rebalance.last_move", "1"},
		{"volatile.eth0.last_state.ip_addresses", "x"},
		{"volatile.eth0.last_state.usb.bus", "1"},
		{"volatile.foo", "bar"},
		{"volatile.foo", ""},
		{"volatile.uuid", "x"},
		{"volatile.cloud-init.instance-id", "x"},
		{"volatile.vm.definition", "x"},
		{"security.bpffs.path", "/x"},
		{"oci.entrypoint", "x"},
		{"cloud-init.foo", "x"},
		{"limits.kernel.", "x"},
		{"limits.hugepages.4MB", "1"},
		{"limits.memory.hugepages", "true"},
		{"migration.stateful", "true"},
		{"nvidia.foo", "x"},
		{"raw.qemu", "x"},
		{"security.secureboot", "false"},
		{"snapshots.expiry.manual", "1d"},
		{"security.syscalls.intercept.bpf.x", "false"},
		{"boot.autostart", "maybe"},
		{"boot.autostart", "last-state"},
		{"boot.autostart.delay", "1.5"},
		{"boot.stop.priority", "0x10"},
		{"cluster.evacuate", "stateful-stop"},
		{"limits.cpu", "0,0"},
		{"limits.cpu", "5,3-6"},
		{"limits.cpu", "1-2-3"},
		{"limits.cpu", "a"},
		{"limits.cpu", "1,"},
		{"limits.cpu", "99999999999999999999"},
		{"limits.cpu.allowance", "10.5%"},
		{"limits.cpu.allowance", "10ms"},
		{"limits.cpu.allowance", "10 ms/100ms"},
		{"limits.cpu.priority", "11"},
		{"limits.memory", "0"},
		{"limits.memory", "0%"},
		{"limits.memory", "1.5%"},
		{"limits.memory", "8EiB"},
		{"limits.memory", "100KB"},
		{"limits.memory.swap", "1GiB"},
		{"limits.memory.swap", "1B"},
		{"limits.memory.enforce", "x"},
		{"limits.hugepages.1GB", "10%"},
		{"limits.processes", "x"},
		{"security.idmap.base", "4294967296"},
		{"security.nesting", "x"},
		{"snapshots.expiry", "1D"},
		{"snapshots.expiry", "1d 2d"},
		{"snapshots.schedule.stopped", "x"},
		{"snapshots.schedule", "x"},
		{"snapshots.schedule", "@weekly, @foo"},
		{"snapshots.schedule", "0  0 * * *"},
		{"snapshots.schedule", "@hourly @daily"},
		{"cloud-init.network-config", "hello"},
		{"cloud-init.network-config", "a:\n\tb"},
		{"cloud-init.user-data", "#cloud-config\n- a"},
		{"cloud-init.vendor-data", "#cloud-config\nx"},
	}
	// lxdRewrites are values that LXD reads only when they are written otherwise.
	lxdRewrites = [][3]string{
		{"limits.memory", "104857600bytes", "104857600"},
		{"limits.memory", "104857600 bytes", "104857600"},
		{"limits.memory", "1\tMiB", "1048576"},
		{"limits.memory", " 1MiB\n", "1048576"},
		{"limits.hugepages.2MB", "8.0MB", "8000000"},
		{"limits.processes", " 10", "10"},
		{"limits.cpu.allowance", " 10%", "10%"},
		{"snapshots.expiry", "1d  2H", "1d 2H"},
	}
)

func TestKeyLXDValue(t *testing.T) {
	for _, is := range lxdTakes {
		if got, ok := keyLXDValue(is[0], is[1]); !ok || got != is[1] {
			t.Errorf("%s=%q is in a record as %q, %v", is[0], is[1], got, ok)
		}
	}
	for _, is := range lxdRefuses {
		if got, ok := keyLXDValue(is[0], is[1]); ok {
			t.Errorf("%s=%q is in a record as %q", is[0], is[1], got)
		}
	}
	for _, is := range lxdRewrites {
		if got, ok := keyLXDValue(is[0], is[1]); !ok || got != is[2] {
			t.Errorf("%s=%q is in a record as %q, %v, want %q", is[0], is[1], got, ok, is[2])
		}
	}
}

// What clashes with another key is put aside, as denied system calls beside allowed ones, and is back when LXD has taken that away.
func TestKeysThatClash(t *testing.T) {
	c := Config{"security.syscalls.allow": "read", "security.syscalls.deny": "write", "security.syscalls.deny_default": "false", "nvidia.runtime": "true", "security.privileged": "false"}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"security.syscalls.allow": "read", asidePrefix + "security.syscalls.deny": "write", "security.syscalls.deny_default": "false", "nvidia.runtime": "true", "security.privileged": "false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	delete(got, "security.syscalls.allow")
	takeBackAll([]Config{got}, nil)
	if diff := cmp.Diff(map[string]string{"security.syscalls.deny": "write", "security.syscalls.deny_default": "false", "nvidia.runtime": "true", "security.privileged": "false"}, got); diff != "" {
		t.Error(diff)
	}
}

// asideConfig and asideDevices have keys and values that LXD 5.0.2 refuses.
var (
	asideConfig = Config{
		"snapshots.retention": "24 hourly", "cloud-init.ssh-keys.me": "root:k", "security.syscalls.intercept.sysinfo": "false",
		"limits.memory": "1.5GiB", "limits.hugepages.2MB": "2 MB", "limits.memory.swap": "1GiB", "security.idmap.size": "auto",
	}
	asideDevices = Devices{
		"root": {"type": "disk", "path": "/", "pool": "p", "size": "0.5GiB"},
		"d":    {"type": "disk", "path": "/d", "source": "/s", "readonly": "true", "recursive": "true", "limits.max": "1.5MB", "limits.read": "1MB/s"},
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
			"d":    {"type": "disk", "path": "/d", "source": "/s", "readonly": "true", asidePrefix + "recursive": "true", "limits.max": "1500000", asidePrefix + "limits.max": "1.5MB", "limits.read": "1MB", asidePrefix + "limits.read": "1MB/s"},
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
	takeBack(c, asideLXDValue)
	want := Config{"limits.memory": "1GiB", asidePrefix + "security.privileged": "true", "boot.autorestart": "true"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}
