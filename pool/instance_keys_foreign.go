package pool

import (
	"fmt"
	"strings"
)

// foreignKeys are keys of Incus's that nothing here could follow, by how they begin,
// and what they are for.
var foreignKeys = []struct{ prefix, what string }{
	{"agent.", "virtual machines, which do not run here"},
	{"raw.qemu", "virtual machines, which do not run here"},
	{"raw.apparmor", "AppArmor, which is not used here"},
	{"raw.lxc", "liblxc, which is not used here"},
	{"raw.idmap", "maps of single ids, which there are not here: see security.idmap.*"},
	{"raw.seccomp", "liblxc, which is not used here: see security.syscalls.*"},
	{"migration.", "virtual machines and stateful snapshots, which there are not here"},
	{"nvidia.", "the NVIDIA container runtime, which is not used here"},
	{"cluster.", "clusters, and this is one host"},
	{"oci.", "application containers, which do not run here"},
	{"security.agent.", "virtual machines, which do not run here"},
	{"security.csm", "virtual machines, which do not run here"},
	{"security.secureboot", "virtual machines, which do not run here"},
	{"security.sev", "virtual machines, which do not run here"},
	{"limits.memory.hugepages", "virtual machines, which do not run here"},
	{"limits.memory.hotplug", "virtual machines, which do not run here"},
}

// foreignKey is the error about a key of which it is known why it is not there; nil
// of any other.
func foreignKey(name string) error {
	for _, k := range foreignKeys {
		if strings.HasPrefix(name, k.prefix) {
			return fmt.Errorf("key %q is for %s", name, k.what)
		}
	}
	return nil
}
