package pool

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"poolctl/runtime"
	"poolctl/runtime/cgroup"
)

// parseCPULimit reads limits.cpu: a number of processors, or which ones.
func parseCPULimit(v string) (count int, cpus string, err error) {
	if n, err := strconv.Atoi(v); err == nil {
		if n < 1 || n > 8192 {
			return 0, "", withHint(fmt.Errorf("%d is not a number of processors", n), "0-0 is the processor 0")
		}
		return n, "", nil
	}
	list, err := cgroup.ParseCPUs(v)
	if err == nil && len(list) == 0 {
		err = errors.New("it has no processors")
	}
	return 0, cgroup.FormatCPUs(list), err
}

// checkCPULimit refuses besides what Incus and LXD refuse: a processor that is named twice, and spaces.
func checkCPULimit(v string) error {
	if _, _, err := parseCPULimit(v); err != nil {
		return err
	}
	if strings.ContainsAny(v, " \t\n") {
		return errors.New("it has a space in it")
	}
	seen := map[int]bool{}
	for part := range strings.SplitSeq(v, ",") {
		cpus, err := cgroup.ParseCPUs(part)
		if err != nil {
			return err
		}
		for _, cpu := range cpus {
			if seen[cpu] {
				return fmt.Errorf("processor %d is in it twice", cpu)
			}
			seen[cpu] = true
		}
	}
	return nil
}

// checkNodes checks limits.cpu.nodes. Incus's newer value balanced, which has its
// daemon choose a node and remember it (volatile.cpu.nodes), is none here.
func checkNodes(v string) error {
	if v == "balanced" {
		return withHint(errors.New("no node is chosen by itself"), "limits.cpu=N is spread over all processors; a node is named: limits.cpu.nodes=0, of /sys/devices/system/node")
	}
	_, err := cgroup.ParseCPUs(v)
	return err
}

// allowance is limits.cpu.allowance: a share in percent when processors are short,
// or a quota in each period.
type allowance struct {
	percent       int64
	quota, period time.Duration
}

// maxAllowance is the share of which the kernel's greatest weight is made (MAX_SHARES).
const maxAllowance = (1<<18 - 24) / 10

// parseAllowance reads "50%" or "25ms/100ms". As in LXD and Incus, a share may be more than everybody's, which is 100%.
func parseAllowance(v string) (a allowance, err error) {
	bad := withHint(errors.New("neither a percentage nor a time in a time"), "50%% is a share, 25ms/100ms a limit")
	if p, ok := strings.CutSuffix(v, "%"); ok {
		if a.percent, err = parseWithin(p, 1, maxAllowance); err != nil {
			return a, bad
		}
		return a, nil
	}
	quota, period, ok := strings.Cut(v, "/")
	if !ok {
		return a, bad
	}
	for _, t := range []struct {
		text string
		to   *time.Duration
	}{{quota, &a.quota}, {period, &a.period}} {
		ms, ok := strings.CutSuffix(t.text, "ms")
		n, err := parseWithin(ms, 1, 1<<30)
		if !ok || err != nil {
			return a, bad
		}
		*t.to = time.Duration(n) * time.Millisecond
	}
	if a.period > time.Second { // max_cfs_quota_period of kernel/sched/core.c
		return a, errors.New("the period is longer than 1000ms")
	}
	return a, nil
}

// parseMemory reads limits.memory: bytes with a unit, or a percentage of the
// host's.
func parseMemory(v string, total int64) (int64, error) {
	var n int64
	var err error
	if p, ok := strings.CutSuffix(v, "%"); ok {
		n, err = parseWithin(p, 1, 100)
		n *= total / 100
	} else {
		n, err = ParseSize(v)
	}
	if err == nil && n < minMemory {
		err = fmt.Errorf("less than %s, with which nothing runs", FormatSize(minMemory))
	}
	return n, err
}

// minMemory is the least memory that is taken for meant.
const minMemory = 1 << 20

// parseSwap reads limits.memory.swap: whether to swap, or how much.
func parseSwap(v string) (swap bool, size int64, err error) {
	if checkBool(v) == nil {
		return isTrue(v), 0, nil
	}
	if size, err = ParseSize(v); err != nil {
		return false, 0, withHint(errors.New("neither true nor false nor a size"), "for example false or 512MiB")
	}
	return true, size, nil
}

// parseRlimit reads limits.kernel.*: one number for both, SOFT:HARD, or
// "unlimited" in place of a number.
func parseRlimit(v string) (r runtime.Rlimit, err error) {
	soft, hard, two := strings.Cut(v, ":")
	if !two {
		hard = soft
	}
	for _, t := range []struct {
		text string
		to   *uint64
	}{{soft, &r.Soft}, {hard, &r.Hard}} {
		if t.text == "unlimited" {
			*t.to = runtime.RlimitInfinity
		} else if *t.to, err = strconv.ParseUint(t.text, 10, 63); err != nil {
			return r, withHint(errors.New("not a limit"), "a number, unlimited, or SOFT:HARD")
		}
	}
	if r.Soft > r.Hard {
		return r, errors.New("the soft limit is above the hard one")
	}
	return r, nil
}

// parseRate reads limits.read and the like of a disk: bytes in a second, or
// operations ("1000iops").
func parseRate(v string) (bytes, ops int64, err error) {
	if n, ok := strings.CutSuffix(v, "iops"); ok {
		ops, err = parseWithin(n, 1, 1<<31)
		return 0, ops, err
	}
	bytes, err = ParseSize(strings.TrimSuffix(v, "/s"))
	if err == nil && bytes < 1 {
		err = errors.New("not a rate")
	}
	return bytes, 0, err
}

// parseWithin reads a whole number.
func parseWithin(v string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("not a number from %d to %d", least, most)
	}
	return n, nil
}
