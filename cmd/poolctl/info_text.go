package main

import (
	"fmt"
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
	if in.State != nil {
		resourcesText(&b, in.State)
	}
	if len(in.Snapshots) > 0 {
		line("\nSnapshots:")
		_ = table.Write(&b, snapshotHeader(), snapshotRows(in.Snapshots)) // a strings.Builder takes everything
	}
	return b.String()
}

func resourcesText(b *strings.Builder, st *pool.InstanceState) {
	line := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	line("\nResources:")
	line("  Processes: %d", st.Processes)
	line("  CPU usage:\n    CPU usage (in seconds): %d", int64(st.CPU.Seconds()))
	line("  Memory usage:\n    Memory (current): %s", output.IEC(st.Memory))
	if st.MemoryPeak > 0 {
		line("    Memory (peak): %s", output.IEC(st.MemoryPeak))
	}
	if len(st.Network) > 0 {
		line("  Network usage:")
	}
	for _, i := range st.Network {
		interfaceText(b, i)
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
