package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
	"poolctl/runtime/network"
)

// instanceText is `info NAME` as lxc writes it.
func instanceText(in pool.Instance) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Name: %s", in.Name)
	if in.Description != "" {
		line("Description: %s", in.Description)
	}
	line("Status: %s", strings.ToUpper(in.Status))
	if in.Problem != "" {
		line("Problem: %s", in.Problem)
	}
	kind := in.Type
	if in.Ephemeral {
		kind += " (ephemeral)"
	}
	line("Type: %s", kind)
	line("Architecture: %s", in.Architecture)
	line("Storage pool: %s", in.Pool)
	if in.State != nil {
		line("PID: %d", in.State.PID)
	}
	if isSet(in.CreatedAt) {
		line("Created: %s", minute(in.CreatedAt.Local()))
	}
	if isSet(in.LastUsedAt) {
		line("Last Used: %s", minute(in.LastUsedAt.Local()))
	}
	if in.State != nil && isSet(in.State.StartedAt) {
		line("Started: %s", minute(in.State.StartedAt.Local()))
	}
	if e := in.LastExit; e != nil {
		line("Last Exit: %s (%s)", e, minute(e.At.Local()))
	}
	if in.State != nil || len(in.Disks) > 0 {
		resourcesText(&b, in)
	}
	if len(in.Snapshots) > 0 {
		line("\nSnapshots:")
		_ = table.Write(&b, snapshotHeader(), snapshotRows(in.Snapshots)) // a strings.Builder takes everything
	}
	return b.String()
}

func resourcesText(b *strings.Builder, in pool.Instance) {
	line := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	line("\nResources:")
	st := in.State
	if st != nil {
		line("  Processes: %d", st.Processes)
	}
	if len(in.Disks) > 0 {
		line("  Disk usage:")
	}
	for _, device := range slices.Sorted(maps.Keys(in.Disks)) {
		d := in.Disks[device]
		if d.Total > 0 {
			line("    %s: %s of %s", device, output.IEC(d.Usage), output.IEC(d.Total))
		} else {
			line("    %s: %s", device, output.IEC(d.Usage))
		}
	}
	if st == nil {
		return
	}
	line("  CPU usage:\n    CPU usage (in seconds): %d", int64(st.CPU.Seconds()))
	memoryText(b, st)
	if len(st.Network) > 0 {
		line("  Network usage:")
	}
	for _, i := range st.Network {
		interfaceText(b, i)
	}
}

func memoryText(b *strings.Builder, st *pool.InstanceState) {
	line := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	line("  Memory usage:\n    Memory (current): %s", output.IEC(st.Memory))
	for _, m := range []struct {
		what  string
		bytes int64
	}{{"Memory (peak)", st.MemoryPeak}, {"Memory (limit)", st.MemoryLimit}, {"Swap (current)", st.Swap}, {"Swap (peak)", st.SwapPeak}} {
		if m.bytes > 0 {
			line("    %s: %s", m.what, output.IEC(m.bytes))
		}
	}
	if st.OOMKills > 0 {
		line("    Killed for want of memory: %d", st.OOMKills)
	}
}

func interfaceText(b *strings.Builder, i network.Interface) {
	line := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	line("    %s:", i.Name)
	line("      Type: %s", i.Type)
	line("      State: %s", strings.ToUpper(i.State))
	if i.HostName != "" {
		line("      Host interface: %s", i.HostName)
	}
	if i.HWAddr != "" {
		line("      MAC address: %s", i.HWAddr)
	}
	line("      MTU: %d", i.MTU)
	line("      Bytes received: %s", output.SI(int64(i.Counters.BytesReceived))) //nolint:gosec // no interface has carried 8 EiB
	line("      Bytes sent: %s", output.SI(int64(i.Counters.BytesSent)))         //nolint:gosec // as above
	line("      Packets received: %d", i.Counters.PacketsReceived)
	line("      Packets sent: %d", i.Counters.PacketsSent)
	line("      IP addresses:")
	for _, a := range i.Addresses {
		line("        %-6s %s/%s (%s)", a.Family+":", a.Address, a.Netmask, a.Scope)
	}
}
