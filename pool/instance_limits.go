package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
	"poolctl/runtime/cgroup"
)

// limitsOf are the limits of an expanded configuration, without those of disks.
func limitsOf(config map[string]string) (l runtime.Limits, err error) {
	for _, part := range []func(map[string]string, *runtime.Limits) error{cpuLimits, memoryLimits, otherLimits} {
		if err := part(config, &l); err != nil {
			return l, err
		}
	}
	return l, nil
}

// keyError says which key has a wrong value: one from a time before it was
// checked, or that asks for what the host has not.
func keyError(key string, config map[string]string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s=%s: %w", key, config[key], err)
}

// cpuLimits reads limits.cpu*. The numbers are those of Incus: 1024 shares for
// 100%, and one less for each step of priority below 10.
func cpuLimits(config map[string]string, l *runtime.Limits) (err error) {
	if v := config["limits.cpu"]; v != "" {
		if l.CPUCount, l.CPUs, err = parseCPULimit(v); err != nil {
			return keyError("limits.cpu", config, err)
		}
	}
	if v := config["limits.cpu.nodes"]; v != "" {
		if l.CPUs, err = cpusOfNodes(v, l.CPUs); err != nil {
			return keyError("limits.cpu.nodes", config, err)
		}
	}
	shares := int64(1024)
	if v := config["limits.cpu.allowance"]; v != "" {
		a, err := parseAllowance(v)
		if err != nil {
			return keyError("limits.cpu.allowance", config, err)
		}
		l.CPUQuota, l.CPUPeriod = a.quota, a.period
		if a.percent > 0 {
			shares = 10*a.percent + 24
		}
	}
	if v := config["limits.cpu.priority"]; v != "" {
		p, err := parseWithin(v, 0, 10)
		if err != nil {
			return keyError("limits.cpu.priority", config, err)
		}
		shares -= 10 - p
	}
	if shares != 1024 {
		l.CPUShares = max(shares, 2) // the kernel's least (MIN_SHARES)
	}
	return nil
}

// cpusOfNodes are the processors of memory nodes; with a list, those of it.
func cpusOfNodes(nodes, list string) (string, error) {
	want, err := cgroup.ParseCPUs(nodes)
	if err != nil {
		return "", err
	}
	chosen, err := cgroup.ParseCPUs(list)
	if err != nil {
		return "", err
	}
	var cpus []int
	for _, n := range want {
		data, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/node/node%d/cpulist", n))
		if err != nil {
			return "", withHint(fmt.Errorf("the host has no memory node %d", n), "ls /sys/devices/system/node")
		}
		of, err := cgroup.ParseCPUs(string(data))
		if err != nil {
			return "", err
		}
		for _, c := range of {
			if len(chosen) == 0 || slices.Contains(chosen, c) {
				cpus = append(cpus, c)
			}
		}
	}
	if len(cpus) == 0 {
		return "", errors.New("no processor is left of limits.cpu")
	}
	slices.Sort(cpus)
	return cgroup.FormatCPUs(cpus), nil
}

// memoryLimits reads limits.memory*. A hard limit is one of memory and swap
// together, as in Incus, unless a size of swap is given.
func memoryLimits(config map[string]string, l *runtime.Limits) error {
	swap, swapSize := true, int64(0)
	if v := config["limits.memory.swap"]; v != "" {
		var err error
		if swap, swapSize, err = parseSwap(v); err != nil {
			return keyError("limits.memory.swap", config, err)
		}
	}
	if v := config["limits.memory"]; v != "" {
		total, err := HostMemory()
		if err != nil {
			return err
		}
		n, err := parseMemory(v, total)
		if err != nil {
			return keyError("limits.memory", config, err)
		}
		if config["limits.memory.enforce"] == "soft" {
			l.MemorySoft = n
		} else {
			l.Memory, l.MemorySoft = n, n/10*9
			l.Swap = &swapSize
		}
	}
	if swapSize > 0 || !swap {
		l.Swap = &swapSize
	}
	if v := config["limits.memory.swap.priority"]; v != "" {
		p, err := parseWithin(v, 0, 10)
		if err != nil {
			return keyError("limits.memory.swap.priority", config, err)
		}
		swappiness := 70 - p // 60, the kernel's, for the highest
		l.Swappiness = &swappiness
	}
	if !swap {
		none := int64(0)
		l.Swappiness = &none
	}
	return nil
}

// otherLimits reads the rest.
func otherLimits(config map[string]string, l *runtime.Limits) error {
	if v := config["limits.memory.oom_priority"]; v != "" {
		n, err := parseWithin(v, -1000, 1000)
		if err != nil {
			return keyError("limits.memory.oom_priority", config, err)
		}
		l.OOMScore = int(n)
	}
	if v := config["limits.processes"]; v != "" {
		n, err := parseWithin(v, 1, 1<<22)
		if err != nil {
			return keyError("limits.processes", config, err)
		}
		l.Processes = n
	}
	if v := config["limits.disk.priority"]; v != "" {
		p, err := parseWithin(v, 0, 10)
		if err != nil {
			return keyError("limits.disk.priority", config, err)
		}
		l.IOWeight = max(20*p, 2) // 100, everybody's, for 5, as Incus has it
	}
	for _, k := range sortedKeys(config) {
		if size, ok := strings.CutPrefix(k, "limits.hugepages."); ok && config[k] != "" {
			n, err := ParseSize(config[k])
			if err != nil {
				return keyError(k, config, err)
			}
			if l.HugePages == nil {
				l.HugePages = map[string]int64{}
			}
			l.HugePages[size] = n
		}
		if name, ok := strings.CutPrefix(k, "limits.kernel."); ok && config[k] != "" {
			r, err := parseRlimit(config[k])
			if err != nil {
				return keyError(k, config, err)
			}
			if l.Rlimits == nil {
				l.Rlimits = map[string]runtime.Rlimit{}
			}
			l.Rlimits[name] = r
		}
	}
	return nil
}

// sysctlsOf are the linux.sysctl.* of a configuration.
func sysctlsOf(config map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range config {
		if name, ok := strings.CutPrefix(k, "linux.sysctl."); ok && v != "" {
			out[name] = v
		}
	}
	return out
}

// HostMemory is the host's memory in bytes.
func HostMemory() (int64, error) {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 0, fmt.Errorf("cannot ask for the host's memory: %w", err)
	}
	return int64(si.Totalram) * int64(si.Unit), nil //nolint:gosec // no host has 8 EiB
}

// checkDiskLimits checks limits.read and the like of a disk device.
func checkDiskLimits(dev map[string]string) error {
	for _, k := range diskLimitKeys {
		if v := dev[k]; v != "" {
			if _, _, err := parseRate(v); err != nil {
				return fmt.Errorf("%s=%s: %w", k, v, err)
			}
		}
	}
	return nil
}

// diskLimits are the rates of the block devices below the disks of an instance.
// Of two disks on one device the lower rate holds for both: the kernel has no
// other place for it.
func (s *System) diskLimits(devices map[string]map[string]string) (map[string]cgroup.IORate, error) {
	var out map[string]cgroup.IORate
	for _, name := range sortedKeys(devices) {
		dev := devices[name]
		if dev["type"] != "disk" { // a nic has limits.max too
			continue
		}
		rate, err := diskRate(dev)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", name, err)
		}
		if dev["type"] != "disk" || rate == (cgroup.IORate{}) {
			continue
		}
		path := dev["source"]
		if dev["pool"] != "" {
			path = s.dir.MountPoint(dev["pool"])
		}
		block, err := blockDevice(path)
		if err != nil {
			return nil, fmt.Errorf("device %s: cannot limit its rate: %w", name, err)
		}
		if out == nil {
			out = map[string]cgroup.IORate{}
		}
		out[block] = lowerRate(out[block], rate)
	}
	return out, nil
}

// diskRate reads the keys of one disk; limits.max is for both directions, and
// stronger than theirs.
func diskRate(dev map[string]string) (r cgroup.IORate, err error) {
	for _, k := range diskLimitKeys {
		if dev[k] == "" {
			continue
		}
		bytes, ops, err := parseRate(dev[k])
		if err != nil {
			return r, fmt.Errorf("%s=%s: %w", k, dev[k], err)
		}
		if k != "limits.write" {
			r.ReadBytes, r.ReadOps = bytes, ops
		}
		if k != "limits.read" {
			r.WriteBytes, r.WriteOps = bytes, ops
		}
	}
	return r, nil
}

func lowerRate(a, b cgroup.IORate) cgroup.IORate {
	low := func(x, y int64) int64 {
		if x == 0 || y == 0 {
			return max(x, y)
		}
		return min(x, y)
	}
	return cgroup.IORate{
		ReadBytes: low(a.ReadBytes, b.ReadBytes), WriteBytes: low(a.WriteBytes, b.WriteBytes),
		ReadOps: low(a.ReadOps, b.ReadOps), WriteOps: low(a.WriteOps, b.WriteOps),
	}
}

// blockDevice is the number (MAJOR:MINOR) of the whole disk that a path is on.
func blockDevice(path string) (string, error) {
	source, err := mountSource(path)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is on no block device", path)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	// The kernel throttles disks, not partitions (block/blk-cgroup.c, blkg_conf_prep).
	if _, err := os.Stat("/sys/dev/block/" + number + "/partition"); err != nil {
		return number, nil //nolint:nilerr // it is a whole disk
	}
	link, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if err != nil {
		return "", fmt.Errorf("cannot find the disk of %s: %w", source, err)
	}
	data, err := os.ReadFile(filepath.Join(filepath.Dir(link), "dev"))
	if err != nil {
		return "", fmt.Errorf("cannot find the disk of %s: %w", source, err)
	}
	return strings.TrimSpace(string(data)), nil
}

// applyDiskLimits gives a running instance the rates of its disks as they are to
// be, and returns how to take it back.
func (s *System) applyDiskLimits(name string, was, now map[string]map[string]string) (undo func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	before, berr := s.diskLimits(was)
	after, err := s.diskLimits(now)
	if err != nil {
		return nil, err
	}
	if berr != nil || len(before)+len(after) == 0 {
		before = nil // wrong before, and so in no effect
	}
	if len(before)+len(after) == 0 {
		return nothing, nil
	}
	set := func(io map[string]cgroup.IORate) (err error) {
		live, err := s.runningInstance(name)
		if errors.Is(err, runtime.ErrNotRunning) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, live.Close()) }()
		l, err := live.Limits()
		if err != nil {
			return err
		}
		l.IO = io
		return live.SetLimits(l)
	}
	return func(context.Context) error { return set(before) }, set(after)
}
