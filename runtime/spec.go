package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/network"
	"poolctl/runtime/proxy"
	"poolctl/runtime/seccomp"
	"poolctl/runtime/stage"
)

// Spec is what Start needs to know of an instance.
type Spec struct {
	// Name is for messages and the process list only.
	Name string `json:"name"`
	// Rootfs is the root filesystem's directory on the host, with ids as the
	// image has them unless DiskUIDMap and DiskGIDMap say otherwise. Its
	// filesystem must support idmapped mounts.
	Rootfs string `json:"rootfs"`
	// DiskUIDMap and DiskGIDMap map the instance's ids to those on disk, where
	// they were shifted, as LXD and Incus do on kernels without idmapped mounts.
	// HostID is then what is on disk. Both or neither.
	DiskUIDMap []IDMap `json:"disk_uid_map,omitempty"`
	DiskGIDMap []IDMap `json:"disk_gid_map,omitempty"`
	// RunDir is the instance's own directory for live state; made by Start, gone
	// when the instance is.
	RunDir string `json:"run_dir"`
	// Cgroup is the instance's path in every hierarchy ("/poolctl/1a2b3c4d/c1").
	// The supervisor uses the path with ".monitor" appended.
	Cgroup string `json:"cgroup"`
	// Hostname is set at each start.
	Hostname string `json:"hostname"`
	// UIDMap and GIDMap must map id 0.
	UIDMap []IDMap `json:"uid_map"`
	GIDMap []IDMap `json:"gid_map"`
	// Privileged makes the instance's root the host's: it has no user namespace,
	// and UIDMap and GIDMap must be those of HostIDMap.
	Privileged bool `json:"privileged,omitempty"`
	// Nesting gives programs inside what they need to run instances of their own.
	Nesting bool `json:"nesting,omitempty"`
	// Filter refuses system calls to everything that runs inside.
	Filter seccomp.Program `json:"filter,omitempty"`
	// Linux32 lets the instance's programs see a 32-bit machine (personality(2),
	// PER_LINUX32): uname -m is i686 on x86_64.
	Linux32 bool `json:"linux32,omitempty"`
	// Init is the argument vector of PID 1; empty means /sbin/init.
	Init []string `json:"init,omitempty"`
	// Idle has a process of this package's as PID 1, in place of Init, which does
	// nothing but reap: nothing of the root filesystem runs but the commands of Exec.
	Idle bool `json:"idle,omitempty"`
	// Env is added to the environment of init and of commands.
	Env map[string]string `json:"env,omitempty"`
	// NICs are plugged in before init runs.
	NICs []network.NIC `json:"nics,omitempty"`
	// Devices are the device nodes that it may use over those of
	// cgroup.DefaultDevices.
	Devices []cgroup.Device `json:"devices,omitempty"`
	// Disks are mounted before init runs.
	Disks []Disk `json:"disks,omitempty"`
	// Proxies pass connections on as soon as init runs.
	Proxies []proxy.Device `json:"proxies,omitempty"`
	// Limits are set before init runs.
	Limits Limits `json:"limits,omitzero"`
	// Sysctls are settings of the kernel that are the instance's own, by their
	// names in /proc/sys with dots ("net.ipv4.ip_forward"); they are set before
	// init runs.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// LogFile takes what the supervisor has to report; empty for nowhere.
	LogFile string `json:"log_file,omitempty"`
	// ConsoleLog takes what the instance writes to its console, at most about
	// 1 MiB, and as much again in the file with ".old" appended; empty for
	// nowhere.
	ConsoleLog string `json:"console_log,omitempty"`
	// ExitFile takes how the last run ended (LoadExit), also one after which the
	// instance is started again (AutoRestart); empty for nowhere.
	ExitFile string `json:"exit_file,omitempty"`
	// AutoRestart starts the instance again when it has ended unexpectedly: neither
	// stopped nor powered off from inside. At most ten times within a minute.
	AutoRestart bool `json:"auto_restart,omitempty"`
	// About is what the Hooks that Main was given are told of the instance; empty
	// for no upkeep.
	About string `json:"about,omitempty"`
	// TellEnd has Hooks.Ended called after every end, also one that was asked for.
	TellEnd bool `json:"tell_end,omitempty"`
}

const defaultInit = "/sbin/init"

// defaultPath is what LXC gives to init and to commands.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// validate refuses what cannot be carried out, before anything is made.
func (s Spec) validate() error {
	for what, path := range map[string]string{"root filesystem": s.Rootfs, "run directory": s.RunDir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("invalid %s %q: want an absolute path", what, path)
		}
	}
	if len(s.Hostname) > 64 { // __NEW_UTS_LEN
		return fmt.Errorf("invalid hostname %q: longer than 64 bytes", s.Hostname)
	}
	if err := cgroup.ValidatePath(s.Cgroup); err != nil {
		return err
	}
	for _, m := range [][]IDMap{s.UIDMap, s.GIDMap} {
		if _, ok := hostID(m, 0); !ok {
			return errors.New("invalid id map: it does not map id 0")
		}
	}
	if s.Privileged && (!slices.Equal(s.UIDMap, HostIDMap()) || !slices.Equal(s.GIDMap, HostIDMap())) {
		return errors.New("invalid id map: a privileged instance has the host's ids")
	}
	if err := errors.Join(s.validateDiskMaps(), s.validateDisks(), validateProxies(s.Proxies), s.Limits.validate(), stage.ValidateSysctls(s.Sysctls)); err != nil {
		return err
	}
	return validateEnv(s.Env)
}

// validateEnv refuses what no environment can hold.
func validateEnv(env map[string]string) error {
	for k, v := range env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return fmt.Errorf("invalid environment variable %q", k)
		}
	}
	return nil
}

// validateDiskMaps refuses shifted ids of which root's is none, or of which none
// are the instance's.
func (s Spec) validateDiskMaps() error {
	if len(s.DiskUIDMap) == 0 && len(s.DiskGIDMap) == 0 {
		return nil
	}
	for _, m := range [][]IDMap{s.DiskUIDMap, s.DiskGIDMap} {
		if _, ok := hostID(m, 0); !ok {
			return errors.New("invalid id map of the root filesystem: it does not map id 0")
		}
	}
	return nil
}

// validateDisks refuses disks that cannot be mounted, and two at one place.
func (s Spec) validateDisks() error {
	seen := map[string]string{}
	for _, d := range s.Disks {
		if err := d.validate(); err != nil {
			return err
		}
		if other, twice := seen[d.Inside()]; twice {
			return fmt.Errorf("devices %s and %s are both at %s", other, d.Device, d.Path)
		}
		seen[d.Inside()] = d.Device
	}
	return nil
}

// initArgs is the argument vector of PID 1.
func (s Spec) initArgs() []string {
	if s.Idle {
		return []string{idleName}
	}
	if len(s.Init) > 0 {
		return s.Init
	}
	return []string{defaultInit}
}

// environ is the environment of PID 1. container=lxc is what systemd and openrc
// look for (https://systemd.io/CONTAINER_INTERFACE).
func (s Spec) environ() []string {
	return environ(map[string]string{"PATH": defaultPath, "TERM": "linux", "container": "lxc"}, s.Env)
}
