package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/runtime/network"
)

func networkInfoCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "info", Usage: "show the state of a network, or of another interface of the host", ArgsUsage: "NAME",
		Description: example("As the kernel reports it now.", "poolctl network info poolbr0"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			info, err := s.NetworkInfo(ctx, args[0])
			if err != nil {
				return err
			}
			return e.printf("%s", networkText(args[0], info))
		}),
	}
}

// networkText is `network info NAME` as lxc writes it.
func networkText(name string, n network.LinkState) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Name: %s", name)
	line("MAC address: %s", n.HWAddr)
	line("MTU: %d", n.MTU)
	line("State: %s", n.State)
	line("Type: %s", n.Type)
	if len(n.Addresses) > 0 {
		line("\nIP addresses:")
		for _, a := range n.Addresses {
			line("  %s\t%s/%s (%s)", a.Family, a.Address, a.Netmask, a.Scope)
		}
	}
	line("\nNetwork usage:")
	line("  Bytes received: %s", output.SI(int64(n.Counters.BytesReceived))) //nolint:gosec // no interface has carried 8 EiB
	line("  Bytes sent: %s", output.SI(int64(n.Counters.BytesSent)))         //nolint:gosec // no interface has carried 8 EiB
	line("  Packets received: %d", n.Counters.PacketsReceived)
	line("  Packets sent: %d", n.Counters.PacketsSent)
	if br := n.Bridge; br != nil {
		line("\nBridge:")
		line("  ID: %s", br.ID)
		line("  STP: %v", br.STP)
		line("  Forward delay: %d", br.ForwardDelay)
		line("  Default VLAN ID: %d", br.VLANDefault)
		line("  VLAN filtering: %v", br.VLANFiltering)
		line("  Upper devices: %s", strings.Join(br.UpperDevices, ", "))
	}
	return b.String()
}
