package cgroup

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits are what the processes of a group get. The zero value is what a new
// group has: no limit of its own.
type Limits struct {
	// CPUs are the processors to run on, a list as of cpuset(7) ("0-2,7").
	CPUs string `json:"cpus,omitempty"`
	// CPUShares is the weight against other groups, 1024 being everybody's; 0 is
	// that, too.
	CPUShares int64 `json:"cpu_shares,omitempty"`
	// CPUQuota is the time that all processors together may take in each
	// CPUPeriod.
	CPUQuota  time.Duration `json:"cpu_quota,omitempty"`
	CPUPeriod time.Duration `json:"cpu_period,omitempty"`
	// Memory is the most memory in bytes, page cache included; MemorySoft is how
	// far it is taken back to when the host runs short.
	Memory     int64 `json:"memory,omitempty"`
	MemorySoft int64 `json:"memory_soft,omitempty"`
	// Swap is the most swap in bytes; nil for no limit.
	Swap *int64 `json:"swap,omitempty"`
	// Swappiness is how readily memory is swapped out, 0 to 100; v1 only.
	Swappiness *int64 `json:"swappiness,omitempty"`
	// Processes is the most processes and threads.
	Processes int64 `json:"processes,omitempty"`
	// IOWeight is the weight against other groups on disks whose scheduler knows
	// one, from 1 to 1000, 100 being everybody's.
	IOWeight int64 `json:"io_weight,omitempty"`
	// IO are rates by block device (MAJOR:MINOR).
	IO map[string]IORate `json:"io,omitempty"`
	// HugePages are the most bytes by the size of page, as the kernel writes it
	// ("2MB", "1GB").
	HugePages map[string]int64 `json:"huge_pages,omitempty"`
}

// IORate is how much may be read and written in a second; 0 is no limit.
type IORate struct {
	ReadBytes  int64 `json:"read_bytes,omitempty"`
	WriteBytes int64 `json:"write_bytes,omitempty"`
	ReadOps    int64 `json:"read_ops,omitempty"`
	WriteOps   int64 `json:"write_ops,omitempty"`
}

// write is one file of a group and what to write to it.
type write struct {
	// files are tried in turn until there is one.
	files []string
	value string
}

// setting is one thing that a controller does for a group.
type setting struct {
	id, controller string
	// v1 and v2 put it into effect, in this order; none: that version knows no
	// such thing.
	v1, v2 []write
	// optional is true of what a kernel may have been built without, and that the
	// limit holds without, too.
	optional bool
}

func one(file, value string) []write { return []write{{[]string{file}, value}} }

// orElse is a number, or the word for none.
func orElse(n int64, none string) string {
	if n == 0 {
		return none
	}
	return strconv.FormatInt(n, 10)
}

// settings are all that limits consist of. A setting that is at its default is
// there all the same, unless it is one of a device or a size of page, of which
// none is listed. The order matters in one place: v1 takes no limit of memory
// above that of memory and swap together.
func (l Limits) settings() []setting {
	out := []setting{
		{id: "cpuset", controller: "cpuset", v1: one("cpuset.cpus", l.CPUs), v2: one("cpuset.cpus", l.CPUs)},
		{id: "shares", controller: "cpu", v1: one("cpu.shares", orElse(l.CPUShares, "1024")), v2: one("cpu.weight", strconv.FormatInt(l.weight(), 10))},
		l.quota(),
		l.memory(),
		{
			id: "soft", controller: "memory", v1: one("memory.soft_limit_in_bytes", orElse(l.MemorySoft, "-1")),
			v2: one("memory.low", strconv.FormatInt(l.MemorySoft, 10)),
		},
		{id: "pids", controller: "pids", v1: one("pids.max", orElse(l.Processes, "max")), v2: one("pids.max", orElse(l.Processes, "max"))},
		{
			id: "weight", controller: "io",
			v1: []write{{[]string{"blkio.bfq.weight", "blkio.weight"}, orElse(l.IOWeight, "100")}},
			v2: []write{{[]string{"io.bfq.weight", "io.weight"}, orElse(l.IOWeight, "100")}},
		},
	}
	swappiness := int64(60) // vm.swappiness's own default
	if l.Swappiness != nil {
		swappiness = *l.Swappiness
	}
	out = append(out, setting{id: "swappiness", controller: "memory", v1: one("memory.swappiness", strconv.FormatInt(swappiness, 10)), optional: true})
	for _, dev := range sortedKeys(l.IO) {
		out = append(out, ioSetting(dev, l.IO[dev]))
	}
	for _, size := range sortedKeys(l.HugePages) {
		out = append(out, hugeSetting(size, strconv.FormatInt(l.HugePages[size], 10)))
	}
	return out
}

// weight turns shares into v2's unit, in which everybody's is 100.
func (l Limits) weight() int64 {
	if l.CPUShares == 0 {
		return 100
	}
	return min(max(l.CPUShares*100/1024, 1), 10000)
}

func (l Limits) quota() setting {
	period := l.CPUPeriod.Microseconds()
	if l.CPUQuota == 0 || period == 0 {
		return setting{
			id: "quota", controller: "cpu", v2: one("cpu.max", "max 100000"),
			v1: []write{{[]string{"cpu.cfs_quota_us"}, "-1"}, {[]string{"cpu.cfs_period_us"}, "100000"}},
		}
	}
	quota := strconv.FormatInt(l.CPUQuota.Microseconds(), 10)
	per := strconv.FormatInt(period, 10)
	return setting{
		id: "quota", controller: "cpu", v2: one("cpu.max", quota+" "+per),
		v1: []write{{[]string{"cpu.cfs_quota_us"}, "-1"}, {[]string{"cpu.cfs_period_us"}, per}, {[]string{"cpu.cfs_quota_us"}, quota}},
	}
}

// memory is the limit with that of swap: v1 has one of memory and one of both
// together, v2 one of each.
func (l Limits) memory() setting {
	both, swap := "-1", "max"
	if l.Swap != nil {
		swap = strconv.FormatInt(*l.Swap, 10)
		if l.Memory > 0 {
			both = strconv.FormatInt(l.Memory+*l.Swap, 10)
		}
	}
	return setting{
		id: "memory", controller: "memory",
		v1: []write{
			{[]string{"memory.memsw.limit_in_bytes", ""}, "-1"}, // "": a kernel that does not account for swap
			{[]string{"memory.limit_in_bytes"}, orElse(l.Memory, "-1")},
			{[]string{"memory.memsw.limit_in_bytes", ""}, both},
		},
		v2: []write{{[]string{"memory.max"}, orElse(l.Memory, "max")}, {[]string{"memory.swap.max", ""}, swap}},
	}
}

// ioSetting is the rates of one device.
func ioSetting(dev string, r IORate) setting {
	v2 := []string{dev}
	var v1 []write
	for _, f := range []struct {
		v1, v2 string
		rate   int64
	}{
		{"read_bps", "rbps", r.ReadBytes},
		{"write_bps", "wbps", r.WriteBytes},
		{"read_iops", "riops", r.ReadOps},
		{"write_iops", "wiops", r.WriteOps},
	} {
		v1 = append(v1, write{[]string{"blkio.throttle." + f.v1 + "_device"}, dev + " " + strconv.FormatInt(f.rate, 10)})
		v2 = append(v2, f.v2+"="+orElse(f.rate, "max"))
	}
	return setting{id: "io " + dev, controller: "io", v1: v1, v2: one("io.max", strings.Join(v2, " "))}
}

func hugeSetting(size, limit string) setting {
	return setting{
		id: "huge " + size, controller: "hugetlb",
		v1: one("hugetlb."+size+".limit_in_bytes", limit), v2: one("hugetlb."+size+".max", limit),
	}
}

// noHugeLimit is what v1 and v2 both take for none: PAGE_COUNTER_MAX or more.
const noHugeLimit = "9223372036854771712"

// changes are the settings of to that differ from those of from; what only from
// has is set back to its default.
func changes(from, to Limits) []setting {
	old := map[string]setting{}
	for _, s := range from.settings() {
		old[s.id] = s
	}
	var out []setting
	for _, s := range to.settings() {
		if was, there := old[s.id]; !there || !same(was, s) {
			out = append(out, s)
		}
		delete(old, s.id)
	}
	for _, id := range sortedKeys(old) {
		if dev, ok := strings.CutPrefix(id, "io "); ok {
			out = append(out, ioSetting(dev, IORate{}))
		}
		if size, ok := strings.CutPrefix(id, "huge "); ok {
			out = append(out, hugeSetting(size, noHugeLimit))
		}
	}
	return out
}

func same(a, b setting) bool {
	eq := func(x, y write) bool { return x.value == y.value && slices.Equal(x.files, y.files) }
	return slices.EqualFunc(a.v1, b.v1, eq) && slices.EqualFunc(a.v2, b.v2, eq)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
