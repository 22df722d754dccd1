package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxCPUs bounds a number in a list: NR_CPUS of the largest kernels.
const maxCPUs = 8192

// ParseCPUs reads a list of processors or memory nodes ("0-2,7"; cpuset(7),
// "List format"), and returns them sorted, each once; "" has none.
func ParseCPUs(list string) ([]int, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var out []int
	for _, part := range strings.Split(strings.TrimSpace(list), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := parseCPU(first)
		b := a
		if err == nil && isRange {
			b, err = parseCPU(last)
		}
		if err != nil || b < a {
			return nil, fmt.Errorf("%q is not a list of numbers and ranges, such as 0-2,7", list)
		}
		for c := a; c <= b; c++ {
			out = append(out, c)
		}
		if len(out) > maxCPUs {
			return nil, fmt.Errorf("%q has more than %d numbers", list, maxCPUs)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func parseCPU(s string) (int, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errors.New("not a number")
	}
	n, err := strconv.Atoi(s)
	if err == nil && n >= maxCPUs {
		err = errors.New("too large")
	}
	return n, err
}

// FormatCPUs writes a sorted list as the kernel does.
func FormatCPUs(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		part := strconv.Itoa(cpus[i])
		if j > i {
			part += "-" + strconv.Itoa(cpus[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// SetCPUs lets the group's processes run on these processors only; "" is all
// that the group above has.
func (g Group) SetCPUs(list string) error {
	return g.set(Limits{CPUs: list}.settings()[0])
}

// CPUs are the processors that the group's processes may run on.
func (g Group) CPUs() ([]int, error) { return g.effectiveCPUs(false) }

// ParentCPUs are those of the group above.
func (g Group) ParentCPUs() ([]int, error) { return g.effectiveCPUs(true) }

func (g Group) effectiveCPUs(parent bool) ([]int, error) {
	h, v1, err := g.controller("cpuset")
	if err != nil {
		return nil, err
	}
	dir, file := g.dir(h), "cpuset.cpus.effective"
	if v1 {
		file = "cpuset.effective_cpus"
	}
	if parent {
		dir = filepath.Dir(dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, fmt.Errorf("cannot read the processors of cgroup %s: %w", g.path, err)
	}
	return ParseCPUs(string(data))
}
