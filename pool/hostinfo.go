package pool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
)

// HostInfo is what `info` prints of the host: incus's fields where it has them.
type HostInfo struct {
	Environment    Environment       `json:"environment" yaml:"environment"`
	KernelFeatures map[string]string `json:"kernel_features" yaml:"kernel_features"`
	Pools          []Pool            `json:"storage_pools" yaml:"storage_pools"`
}

// Environment is the host that poolctl runs on.
type Environment struct {
	Server             string `json:"server" yaml:"server"`
	ServerVersion      string `json:"server_version" yaml:"server_version"`
	ServerName         string `json:"server_name" yaml:"server_name"`
	StateDirectory     string `json:"state_directory" yaml:"state_directory"`
	Kernel             string `json:"kernel" yaml:"kernel"`
	KernelVersion      string `json:"kernel_version" yaml:"kernel_version"`
	KernelArchitecture string `json:"kernel_architecture" yaml:"kernel_architecture"`
	OSName             string `json:"os_name" yaml:"os_name"`
	OSVersion          string `json:"os_version" yaml:"os_version"`
	CgroupLayout       string `json:"cgroup_layout" yaml:"cgroup_layout"`
	Storage            string `json:"storage" yaml:"storage"`
	StorageVersion     string `json:"storage_version" yaml:"storage_version"`
}

// HostInfo tells of the host: kernel, cgroup layout, what the kernel can do for
// poolctl, and the pools.
func (s *System) HostInfo(ctx context.Context) (HostInfo, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return HostInfo{}, fmt.Errorf("cannot ask the kernel for its name: %w", err)
	}
	osName, osVersion := osRelease()
	pools, err := s.Pools(ctx)
	if err != nil {
		return HostInfo{}, err
	}
	return HostInfo{
		Environment: Environment{
			Server: "poolctl", ServerVersion: s.version, ServerName: unix.ByteSliceToString(uts.Nodename[:]), StateDirectory: s.dir.Root,
			Kernel: unix.ByteSliceToString(uts.Sysname[:]), KernelVersion: unix.ByteSliceToString(uts.Release[:]),
			KernelArchitecture: unix.ByteSliceToString(uts.Machine[:]), OSName: osName, OSVersion: osVersion,
			CgroupLayout: cgroupLayout(), Storage: "btrfs", StorageVersion: mkfsVersion(ctx),
		},
		KernelFeatures: kernelFeatures(), Pools: pools,
	}, nil
}

// kernelFeatures says of each thing poolctl stands on whether the kernel has it.
func kernelFeatures() map[string]string {
	exists := func(path string) bool { return unix.Access(path, unix.F_OK) == nil }
	out := map[string]string{}
	for name, have := range map[string]bool{
		"btrfs": btrfs.Check() == nil, "loop": loopdev.Check() == nil, "user_namespaces": exists("/proc/self/ns/user"),
		"cgroup_namespaces": exists("/proc/self/ns/cgroup"), "idmapped_mounts": hasMountSetattr(), "seccomp": exists("/proc/sys/kernel/seccomp/actions_avail"),
		"pidfds": hasPidfd(), "btrfs_simple_quotas": exists(simpleQuotaFeature),
	} {
		out[name] = strconv.FormatBool(have)
	}
	return out
}

// hasMountSetattr asks for mount_setattr(2), Linux 5.12: with a bad descriptor
// it answers EBADF where it exists.
func hasMountSetattr() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return !errors.Is(err, unix.ENOSYS)
}

func hasPidfd() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// cgroupLayout tells the host's cgroup hierarchies: v2 (one), hybrid or v1.
func cgroupLayout() string {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "v2"
	}
	if unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "hybrid"
	}
	return "v1"
}

// osRelease reads the distribution's name and version (os-release(5)).
func osRelease() (name, version string) {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "", ""
	}
	defer func() { _ = f.Close() }()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		k, v, _ := strings.Cut(sc.Text(), "=")
		v = strings.Trim(v, `"'`)
		switch k {
		case "NAME":
			name = v
		case "VERSION_ID":
			version = v
		}
	}
	return name, version
}

// mkfsVersion is the version of btrfs-progs; "" when they are missing.
func mkfsVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "mkfs.btrfs", "--version").Output()
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(out))
	if len(fields) == 0 {
		return ""
	}
	return strings.TrimPrefix(fields[len(fields)-1], "v")
}
