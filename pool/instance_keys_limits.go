package pool

import (
	"context"
	"errors"
	"slices"

	"poolctl/runtime"
)

// limitKeys are what an instance gets of the host (Incus, "Instance options",
// "Resource limits"). All but the sysctls are changed in a running instance.
func limitKeys() []instanceKey {
	var keys []instanceKey
	add := func(name string, check func(string) error) {
		keys = append(keys, instanceKey{name: name, check: check, apply: applyLimitKeys})
	}
	add("limits.cpu", checkCPULimit)
	add("limits.cpu.allowance", func(v string) error { _, err := parseAllowance(v); return err })
	add("limits.cpu.priority", checkPriority)
	add("limits.cpu.nodes", checkNodes)
	add("limits.memory", func(v string) error { _, err := parseMemory(v, 1<<40); return err })
	add("limits.memory.enforce", func(v string) error {
		if v != "hard" && v != "soft" {
			return errors.New("neither hard nor soft")
		}
		return nil
	})
	add("limits.memory.swap", func(v string) error { _, _, err := parseSwap(v); return err })
	add("limits.memory.swap.priority", checkPriority)
	add("limits.memory.oom_priority", func(v string) error { _, err := parseWithin(v, -1000, 1000); return err })
	add("limits.processes", func(v string) error { _, err := parseWithin(v, 1, 1<<22); return err }) // PID_MAX_LIMIT
	add("limits.disk.priority", checkPriority)
	for _, size := range hugePageSizes {
		add("limits.hugepages."+size, func(v string) error { _, err := ParseSize(v); return err })
	}
	for _, name := range runtime.RlimitNames() {
		add("limits.kernel."+name, func(v string) error { _, err := parseRlimit(v); return err })
	}
	return append(keys, instanceKey{name: "linux.sysctl.*", check: anyValue})
}

// hugePageSizes are those that Incus has keys for, which is those of all
// architectures.
var hugePageSizes = []string{"64KB", "1MB", "2MB", "1GB"}

func checkPriority(v string) error { _, err := parseWithin(v, 0, 10); return err }

// applyLimitKeys gives a running instance the limits of a configuration, with the
// rates of its disks as they are.
func applyLimitKeys(_ context.Context, s *System, in *lockedInstance, _, to map[string]string) (err error) {
	live, err := s.runningInstance(in.rec.Name)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	want, err := limitsOf(to)
	if err != nil {
		return err
	}
	have, err := live.Limits()
	if err != nil {
		return err
	}
	want.IO = have.IO
	return live.SetLimits(want)
}

// diskLimitKeys are the keys of a disk device that say how fast it may be.
var diskLimitKeys = []string{"limits.read", "limits.write", "limits.max"}

// withoutDiskLimits is a device without those keys, in which nothing is mounted
// otherwise.
func withoutDiskLimits(dev map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range dev {
		if !slices.Contains(diskLimitKeys, k) {
			out[k] = v
		}
	}
	return out
}
