package tree

import (
	"slices"
	"strings"

	"poolctl/pool/cloudinit"
)

// lxdKeys are the keys that LXD 5.0.2 knows for containers, with what says whether it takes a value.
var lxdKeys = keysByName([]keysWith{
	{lxdAny, `linux.kernel_modules nvidia.driver.capabilities nvidia.require.cuda nvidia.require.driver raw.apparmor raw.idmap raw.lxc
		raw.seccomp security.syscalls.allow security.syscalls.blacklist security.syscalls.deny security.syscalls.intercept.mount.allowed
		security.syscalls.intercept.mount.fuse security.syscalls.whitelist snapshots.pattern volatile.apply_quota
		volatile.apply_template volatile.base_image volatile.evacuate.origin volatile.idmap.base volatile.idmap.current
		volatile.idmap.next volatile.last_state.idmap volatile.last_state.power`},
	{lxdBool, `boot.autostart limits.memory.swap migration.incremental.memory nvidia.runtime security.devlxd security.devlxd.images
		security.idmap.isolated security.nesting security.privileged security.protection.delete security.protection.shift
		security.syscalls.blacklist_compat security.syscalls.blacklist_default security.syscalls.deny_compat
		security.syscalls.deny_default security.syscalls.intercept.bpf security.syscalls.intercept.bpf.devices
		security.syscalls.intercept.mknod security.syscalls.intercept.mount security.syscalls.intercept.mount.shift
		security.syscalls.intercept.sched_setscheduler security.syscalls.intercept.setxattr snapshots.schedule.stopped`},
	{lxdInteger, `boot.autostart.delay boot.autostart.priority boot.host_shutdown_timeout boot.stop.priority limits.processes volatile.vsock_id`},
	{lxdUint32, "migration.incremental.memory.goal migration.incremental.memory.iterations security.idmap.base security.idmap.size"},
	{lxdPriority, "limits.cpu.priority limits.disk.priority limits.memory.swap.priority limits.network.priority"},
	{lxdBytes, "limits.hugepages.64KB limits.hugepages.1MB limits.hugepages.2MB limits.hugepages.1GB"},
	{lxdUUIDs.MatchString, "volatile.cloud-init.instance-id volatile.uuid"},
	{lxdOneOf("auto", "migrate", "live-migrate", "stop"), "cluster.evacuate"},
	{lxdOneOf("hard", "soft"), "limits.memory.enforce"},
	{lxdCPUs, "limits.cpu"},
	{lxdAllowance, "limits.cpu.allowance"},
	{lxdMemory, "limits.memory"},
	{lxdExpiry, "snapshots.expiry"},
	{lxdSchedule, "snapshots.schedule"},
	{func(v string) bool { return cloudinit.CheckMapping(v) == nil }, "cloud-init.network-config"},
	{func(v string) bool { return cloudinit.CheckData(v) == nil }, "cloud-init.user-data cloud-init.vendor-data"},
})

// lxdPrefixes and lxdVolatileSuffixes are of keys that it takes with any value.
var (
	lxdPrefixes         = []string{"environment.", "image.", "limits.kernel.", "linux.sysctl.", "user."}
	lxdVolatileSuffixes = []string{
		".apply_quota", ".ceph_rbd", ".created", ".driver", ".host_name", ".hwaddr", ".id", ".last_state.vf.parent", ".mtu", ".name",
		".spoofcheck", ".uuid", ".vlan",
	}
)

// keysWith are keys, with spaces between them, and what says whether a value of theirs is taken.
type keysWith struct {
	takes func(value string) bool
	names string
}

func keysByName(all []keysWith) map[string]func(string) bool {
	out := map[string]func(string) bool{}
	for _, keys := range all {
		for name := range strings.FieldsSeq(keys.names) {
			out[name] = keys.takes
		}
	}
	return out
}

// lxdKnows says whether LXD 5.0.2 knows a key of containers, and what says whether it takes a value.
func lxdKnows(key string) (takes func(value string) bool, known bool) {
	if takes, known = lxdKeys[key]; known {
		return takes, true
	}
	return lxdAny, slices.ContainsFunc(lxdPrefixes, func(prefix string) bool { return len(key) > len(prefix) && strings.HasPrefix(key, prefix) }) ||
		strings.HasPrefix(key, "volatile.") && slices.ContainsFunc(lxdVolatileSuffixes, func(suffix string) bool { return strings.HasSuffix(key, suffix) })
}

// lxdClashes are the keys that LXD takes only where none of others is set.
var lxdClashes = map[string][]string{
	"nvidia.runtime":                      {"security.privileged"},
	"raw.seccomp":                         {"security.syscalls.allow", "security.syscalls.deny", "security.syscalls.deny_compat", "security.syscalls.deny_default"},
	"security.syscalls.blacklist":         {"security.syscalls.allow", "security.syscalls.deny"},
	"security.syscalls.blacklist_compat":  {"security.syscalls.allow", "security.syscalls.deny_compat"},
	"security.syscalls.blacklist_default": {"security.syscalls.allow", "security.syscalls.deny_default"},
	"security.syscalls.deny":              {"security.syscalls.allow"},
	"security.syscalls.deny_compat":       {"security.syscalls.allow"},
	"security.syscalls.deny_default":      {"security.syscalls.allow"},
	"security.syscalls.whitelist":         {"security.syscalls.allow", "security.syscalls.deny", "security.syscalls.deny_compat", "security.syscalls.deny_default"},
}

// configLXDValue is the lxdValue of the keys of an instance.
func configLXDValue(c Config) lxdValue {
	return func(key, value string) (string, bool) {
		if !lxdFalse(value) && slices.ContainsFunc(lxdClashes[key], func(other string) bool { return !lxdFalse(c[other]) }) {
			return "", false
		}
		return keyLXDValue(key, value)
	}
}

// asideLXDValue is configLXDValue for what was put aside: what it clashed with may be there no more.
func asideLXDValue(key, value string) (string, bool) {
	if _, clashes := lxdClashes[key]; clashes {
		return "", false
	}
	return keyLXDValue(key, value)
}

// keyLXDValue is the lxdValue of one key of an instance.
func keyLXDValue(key, value string) (string, bool) {
	takes, known := lxdKnows(key)
	if !known {
		return "", false
	}
	if value == "" || takes(value) {
		return value, true
	}
	if plain := lxdPlain(key, value); takes(plain) {
		return plain, true
	}
	return "", false
}

// lxdPlain is a value of which LXD may not read how it is written, only with other spaces or units.
func lxdPlain(key, value string) string {
	switch {
	case key == "limits.memory", strings.HasPrefix(key, "limits.hugepages."):
		return lxdSize(value)
	case strings.HasPrefix(key, "limits."), key == "snapshots.expiry":
		return strings.Join(strings.Fields(value), " ")
	}
	return value
}
