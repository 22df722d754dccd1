package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Stats are a group's counters, with all groups below it included. What no
// controller of the host counts is zero.
type Stats struct {
	// Processes counts threads, as the pids controller does; where it is
	// missing, processes.
	Processes int64
	// CPU is the processor time used.
	CPU time.Duration
	// Memory and MemoryPeak are bytes, page cache included.
	Memory, MemoryPeak int64
	// Swap and SwapPeak are bytes.
	Swap, SwapPeak int64
	// MemoryLimit is bytes; 0 for none.
	MemoryLimit int64
}

// Stats reads the counters from the v1 hierarchies that have the controller,
// else from v2.
func (g Group) Stats() (Stats, error) {
	var s Stats
	var errs []error
	read := func(dst *int64, controller, v1File, v2File string) {
		dir, file, ok := g.file(controller, v1File, v2File)
		if !ok || file == "" {
			return
		}
		n, err := readInt(filepath.Join(dir, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
			return
		}
		*dst = n
	}
	read(&s.Processes, "pids", "pids.current", "pids.current")
	read(&s.Memory, "memory", "memory.usage_in_bytes", "memory.current")
	read(&s.MemoryPeak, "memory", "memory.max_usage_in_bytes", "memory.peak")
	read(&s.Swap, "memory", "", "memory.swap.current")
	read(&s.SwapPeak, "memory", "", "memory.swap.peak")
	err := g.memoryStats(&s)
	if err != nil {
		errs = append(errs, err)
	}
	if s.CPU, err = g.cpu(); err != nil {
		errs = append(errs, err)
	}
	if s.Processes == 0 {
		if n, err := g.Count(); err == nil {
			s.Processes = n
		}
	}
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("cannot read the counters of cgroup %s: %w", g.path, err)
	}
	return s, nil
}

// memoryStats reads what the versions have in different places.
func (g Group) memoryStats(s *Stats) error {
	dir, limit, ok := g.file("memory", "memory.limit_in_bytes", "memory.max")
	if !ok {
		return nil
	}
	if n, err := readInt(filepath.Join(dir, limit)); err == nil && n < noMemoryLimit { // "max" is no number
		s.MemoryLimit = n
	}
	if limit == "memory.max" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return err
	}
	s.Swap = keyed(data, "total_swap")
	return nil
}

// OOMKills is how many processes of the group and of those below the kernel has
// killed for want of memory, within limits or on the whole host. v1 counts them
// in each group by itself, and forgets those of a group that was removed.
func (g Group) OOMKills() (int64, error) {
	dir, file, ok := g.file("memory", "memory.oom_control", "memory.events")
	if !ok {
		return 0, nil
	}
	sum := int64(0)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			var data []byte
			data, err = os.ReadFile(filepath.Join(p, file))
			sum += keyed(data, "oom_kill")
			if err == nil && file == "memory.events" { // has it all
				return filepath.SkipAll
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot count the out-of-memory kills of cgroup %s: %w", g.path, err)
	}
	return sum, nil
}

// noMemoryLimit is just below v1's number for none.
const noMemoryLimit = 1<<63 - 1<<20

// keyed is the number after a word in a file of lines of both; 0 without.
func keyed(data []byte, key string) int64 {
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// file says where a counter is.
func (g Group) file(controller, v1File, v2File string) (dir, file string, ok bool) {
	if h, ok := g.layout.v1(controller); ok {
		return g.dir(h), v1File, true
	}
	if h, ok := g.layout.Unified(); ok {
		return g.dir(h), v2File, true
	}
	return "", "", false
}

func (g Group) cpu() (time.Duration, error) {
	if h, ok := g.layout.v1("cpuacct"); ok {
		n, err := readInt(filepath.Join(g.dir(h), "cpuacct.usage"))
		return time.Duration(n), err
	}
	h, ok := g.layout.Unified()
	if !ok {
		return 0, nil
	}
	data, err := os.ReadFile(filepath.Join(g.dir(h), "cpu.stat"))
	if err != nil {
		return 0, err
	}
	return parseCPUStat(data)
}

// parseCPUStat takes usage_usec, in microseconds, from a v2 cpu.stat.
func parseCPUStat(data []byte) (time.Duration, error) {
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "usage_usec" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("invalid usage_usec in cpu.stat: %w", err)
			}
			return time.Duration(n) * time.Microsecond, nil
		}
	}
	return 0, errors.New("no usage_usec in cpu.stat")
}

// Count is the number of processes in the group and below.
func (g Group) Count() (int64, error) {
	pids, err := g.Processes()
	return int64(len(pids)), err
}

func readInt(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid number in %s: %w", path, err)
	}
	return n, nil
}
