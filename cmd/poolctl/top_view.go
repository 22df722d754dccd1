package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

const topDefault = "nscumMN"

// topRow is one instance of one look, in JSON as well.
type topRow struct {
	Name      string  `json:"name" yaml:"name"`
	Status    string  `json:"status" yaml:"status"`
	PID       int     `json:"pid" yaml:"pid"`
	CPU       float64 `json:"cpu_percent" yaml:"cpu_percent"` // of one processor, since the look before
	CPUTime   int64   `json:"cpu_ns" yaml:"cpu_ns"`
	Memory    int64   `json:"memory" yaml:"memory"`
	Total     int64   `json:"memory_total" yaml:"memory_total"`
	Swap      int64   `json:"swap" yaml:"swap"`
	Processes int64   `json:"processes" yaml:"processes"`
}

// topView is what top shows, and how.
type topView struct {
	columns []topColumn
	sort    string
	look    func() ([]pool.LiveInstance, error)
	rows    []topRow
	before  map[int]time.Duration // CPU time by PID, which a new run does not share
	at      time.Time
}

type topColumn struct {
	heading string
	cell    func(topRow) string
}

// topColumns reads -c.
func topColumns(spec string) ([]topColumn, error) {
	known := map[rune]topColumn{
		'n': {"NAME", func(r topRow) string { return r.Name }},
		's': {"STATE", func(r topRow) string { return strings.ToUpper(r.Status) }},
		'c': {"CPU%", func(r topRow) string { return fmt.Sprintf("%.1f%%", r.CPU) }},
		'u': {"CPU TIME(s)", func(r topRow) string { return fmt.Sprintf("%.2f", time.Duration(r.CPUTime).Seconds()) }},
		'm': {"MEMORY", func(r topRow) string { return output.IEC(r.Memory) }},
		'M': {"MEMORY%", func(r topRow) string {
			if r.Total == 0 {
				return ""
			}
			return fmt.Sprintf("%.1f%%", 100*float64(r.Memory)/float64(r.Total))
		}},
		'w': {"SWAP", func(r topRow) string { return output.IEC(r.Swap) }},
		'N': {"PROCESSES", func(r topRow) string { return strconv.FormatInt(r.Processes, 10) }},
		'p': {"PID", func(r topRow) string { return strconv.Itoa(r.PID) }},
	}
	var out []topColumn
	for _, letter := range strings.ReplaceAll(spec, ",", "") {
		c, ok := known[letter]
		if !ok {
			return nil, badUsage("top", "unknown column %q in %q", letter, spec)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, badUsage("top", "no columns in %q", spec)
	}
	return out, nil
}

// topOrder are the keys to sort by: the letter, and which of two comes first.
var topOrder = map[string]struct {
	key   byte
	order func(a, b topRow) int
}{
	"cpu":       {'c', func(a, b topRow) int { return cmp.Compare(b.CPU, a.CPU) }},
	"memory":    {'m', func(a, b topRow) int { return cmp.Compare(b.Memory, a.Memory) }},
	"time":      {'t', func(a, b topRow) int { return cmp.Compare(b.CPUTime, a.CPUTime) }},
	"processes": {'p', func(a, b topRow) int { return cmp.Compare(b.Processes, a.Processes) }},
	"name":      {'n', func(a, b topRow) int { return 0 }},
}

func isTopSort(name string) bool { _, ok := topOrder[name]; return ok }

// key changes the order by a key, and says whether it was one for that.
func (v *topView) key(key byte) bool {
	for name, o := range topOrder {
		if o.key == key {
			v.sort = name
			v.order()
			return true
		}
	}
	return false
}

func (v *topView) order() {
	slices.SortFunc(v.rows, func(a, b topRow) int {
		return cmp.Or(topOrder[v.sort].order(a, b), cmp.Compare(a.Name, b.Name))
	})
}

// update takes a look.
func (v *topView) update() error {
	list, err := v.look()
	if err != nil {
		return err
	}
	now := time.Now()
	passed := now.Sub(v.at)
	used := map[int]time.Duration{}
	v.rows = v.rows[:0]
	for _, in := range list {
		r := topRow{
			Name: in.Name, Status: "Running", PID: in.PID, CPUTime: in.CPU.Nanoseconds(), Memory: in.Memory,
			Total: memoryTotal(&pool.InstanceState{MemoryLimit: in.MemoryLimit}), Swap: in.Swap, Processes: in.Processes,
		}
		if in.Paused {
			r.Status = "Frozen"
		}
		if was, ok := v.before[in.PID]; ok && passed > 0 && in.CPU >= was {
			r.CPU = 100 * float64(in.CPU-was) / float64(passed)
		}
		used[in.PID] = in.CPU
		v.rows = append(v.rows, r)
	}
	v.before, v.at = used, now
	v.order()
	return nil
}

// list is the look as a table, or as rows of data.
func (v *topView) list() output.List {
	l := output.List{Values: append([]topRow{}, v.rows...)}
	for _, c := range v.columns {
		l.Header = append(l.Header, c.heading)
	}
	for _, r := range v.rows {
		row := make([]string, len(v.columns))
		for i, c := range v.columns {
			row[i] = c.cell(r)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

// title is the line above the table.
func (v *topView) title() string {
	cpu, memory := 0.0, int64(0)
	for _, r := range v.rows {
		cpu, memory = cpu+r.CPU, memory+r.Memory
	}
	return fmt.Sprintf("%s  %d running, CPU %.1f%%, memory %s, sorted by %s (c m t p n; q ends)",
		v.at.Format(time.TimeOnly), len(v.rows), cpu, output.IEC(memory), v.sort)
}
