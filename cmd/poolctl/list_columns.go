package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// listColumn is one column of `list`.
type listColumn struct {
	heading string
	cell    func(pool.Instance) string
}

// listColumns reads the -c option: letters, and configuration keys between
// commas.
func listColumns(spec string) ([]listColumn, error) {
	var out []listColumn
	if spec == "" || strings.HasPrefix(spec, ",") || strings.HasSuffix(spec, ",") || strings.Contains(spec, ",,") {
		return nil, badUsage("list", "empty column in %q", spec)
	}
	for _, word := range strings.Split(spec, ",") {
		if strings.ContainsAny(word, ".:") {
			c, err := configColumn(word)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
			continue
		}
		for _, letter := range word {
			c, ok := letterColumn(letter)
			if !ok {
				return nil, badUsage("list", "unknown column %q in %q", letter, spec)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// configColumn reads [config:|devices:]KEY[:HEADING[:WIDTH]]; the key of a device
// is DEVICE.KEY.
func configColumn(word string) (listColumn, error) {
	rest, ofDevice := strings.CutPrefix(word, "devices:")
	parts := strings.Split(strings.TrimPrefix(rest, "config:"), ":")
	key, width := parts[0], -1
	heading := strings.ToUpper(strings.NewReplacer("_", " ", ".", " ").Replace(key))
	if len(parts) > 1 && parts[1] != "" {
		heading = parts[1]
	}
	if len(parts) > 2 {
		n, err := strconv.Atoi(parts[2])
		if err != nil || n < -1 {
			return listColumn{}, badUsage("list", "%q in column %q is not a width", parts[2], word)
		}
		if width = n; n == 0 {
			width = len(heading)
		}
	}
	device, deviceKey, dotted := strings.Cut(key, ".")
	if key == "" || len(parts) > 3 || ofDevice && !dotted {
		return listColumn{}, badUsage("list", "%q is not of the form KEY:HEADING:WIDTH", word)
	}
	return listColumn{heading, func(in pool.Instance) string {
		v := []rune(in.ExpandedConfig[key])
		if ofDevice {
			v = []rune(in.ExpandedDevices[device][deviceKey])
		}
		if width >= 0 && len(v) > width {
			v = v[:width]
		}
		return string(v)
	}}, nil
}

func letterColumn(letter rune) (listColumn, bool) {
	switch letter {
	case 'n':
		return listColumn{"NAME", func(in pool.Instance) string { return in.Name }}, true
	case 's':
		return listColumn{"STATE", func(in pool.Instance) string { return strings.ToUpper(in.Status) }}, true
	case '4':
		return listColumn{"IPV4", func(in pool.Instance) string { return addressCell(in, "inet") }}, true
	case '6':
		return listColumn{"IPV6", func(in pool.Instance) string { return addressCell(in, "inet6") }}, true
	case 't':
		return listColumn{"TYPE", typeCell}, true
	case 'S':
		return listColumn{"SNAPSHOTS", func(in pool.Instance) string { return strconv.Itoa(len(in.Snapshots)) }}, true
	case 'a':
		return listColumn{"ARCHITECTURE", func(in pool.Instance) string { return in.Architecture }}, true
	case 'b':
		return listColumn{"STORAGE POOL", func(in pool.Instance) string { return in.Pool }}, true
	case 'c':
		return listColumn{"CREATED AT", func(in pool.Instance) string { return timeCell(in.CreatedAt) }}, true
	case 'd':
		return listColumn{"DESCRIPTION", func(in pool.Instance) string { return in.Description }}, true
	case 'f':
		return listColumn{"BASE IMAGE", func(in pool.Instance) string { f := baseImage(in); return f[:min(12, len(f))] }}, true
	case 'F':
		return listColumn{"BASE IMAGE", baseImage}, true
	case 'D':
		return listColumn{"DISK USAGE", diskCell}, true
	case 'e':
		return listColumn{"PROJECT", func(pool.Instance) string { return "default" }}, true
	case 'L':
		return listColumn{"LOCATION", func(pool.Instance) string { return "none" }}, true
	case 'l':
		return listColumn{"LAST USED AT", func(in pool.Instance) string { return timeCell(in.LastUsedAt) }}, true
	case 'P':
		return listColumn{"PROFILES", func(in pool.Instance) string { return strings.Join(in.Profiles, "\n") }}, true
	}
	return liveColumn(letter)
}

// liveColumn is a column that is empty for an instance that does not run.
func liveColumn(letter rune) (listColumn, bool) {
	live := func(cell func(*pool.InstanceState) string) func(pool.Instance) string {
		return func(in pool.Instance) string {
			if in.State == nil {
				return ""
			}
			return cell(in.State)
		}
	}
	switch letter {
	case 'p':
		return listColumn{"PID", live(func(st *pool.InstanceState) string { return strconv.Itoa(st.PID) })}, true
	case 'N':
		return listColumn{"PROCESSES", live(func(st *pool.InstanceState) string { return strconv.FormatInt(st.Processes, 10) })}, true
	case 'm':
		return listColumn{"MEMORY USAGE", live(func(st *pool.InstanceState) string { return output.IEC(st.Memory) })}, true
	case 'M':
		return listColumn{"MEMORY USAGE%", live(func(st *pool.InstanceState) string {
			total := memoryTotal(st)
			if total == 0 {
				return ""
			}
			return fmt.Sprintf("%.1f%%", 100*float64(st.Memory)/float64(total))
		})}, true
	case 'U':
		return listColumn{"STARTED AT", live(func(st *pool.InstanceState) string { return timeCell(st.StartedAt) })}, true
	case 'u':
		return listColumn{"CPU USAGE", live(func(st *pool.InstanceState) string { return fmt.Sprintf("%ds", int64(st.CPU.Seconds())) })}, true
	}
	return listColumn{}, false
}

// diskCell is what the root disk takes.
func diskCell(in pool.Instance) string {
	for device, d := range in.Disks {
		if in.ExpandedDevices[device]["path"] == "/" {
			return output.IEC(d.Usage)
		}
	}
	return ""
}

// addressCell has the addresses that others can reach, each on a line with its
// interface, in lxc's order.
func addressCell(in pool.Instance, family string) string {
	var lines []string
	if in.State != nil {
		for _, i := range in.State.Network {
			for _, a := range i.Addresses {
				if i.Type != "loopback" && a.Family == family && a.Scope != "link" && a.Scope != "local" {
					lines = append(lines, fmt.Sprintf("%s (%s)", a.Address, i.Name))
				}
			}
		}
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

func typeCell(in pool.Instance) string {
	t := strings.ToUpper(in.Type)
	if in.Ephemeral {
		t += " (EPHEMERAL)"
	}
	return t
}

func baseImage(in pool.Instance) string { return in.Config["volatile.base_image"] }

func timeCell(t time.Time) string {
	if !isSet(t) {
		return ""
	}
	return minute(t.UTC())
}
