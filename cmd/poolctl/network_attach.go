package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// networkAttachment reads NETWORK TARGET [DEVICE [INTERFACE]].
func networkAttachment(args []string) pool.AttachNetworkOptions {
	return pool.AttachNetworkOptions{Network: args[0], Target: args[1], Device: optional(args, 2), Interface: optional(args, 3)}
}

const networkAttachUsage = "The device is called as the network unless DEVICE is given. INTERFACE is the name inside: else that of DEVICE, or the first\n" +
	"of eth0, eth1, ... that is free. NETWORK may also be a bridge or another link of the host's; the latter is shared (macvlan)."

func networkAttachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "give an instance an interface on a network", ArgsUsage: "NETWORK NAME [DEVICE [INTERFACE]]",
		Description: example(networkAttachUsage, "poolctl network attach poolbr0 c1", "poolctl network attach poolbr0 c1 eth1"),
		Action: e.action(2, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.AttachNetwork(ctx, networkAttachment(args))
		}),
	}
}

func networkAttachProfileCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "attach-profile", Usage: "give all instances of a profile an interface on a network", ArgsUsage: "NETWORK PROFILE [DEVICE [INTERFACE]]",
		Description: example(networkAttachUsage, "poolctl network attach-profile poolbr0 default eth0"),
		Action: e.action(2, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.AttachNetworkProfile(ctx, networkAttachment(args))
		}),
	}
}

func networkDetachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "detach", Usage: "take an interface on a network away from an instance", ArgsUsage: "NETWORK NAME [DEVICE]",
		Description: example("DEVICE is needed when several devices are on the network.", "poolctl network detach poolbr0 c1"),
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return s.DetachNetwork(ctx, networkAttachment(args))
		}),
	}
}

func networkDetachProfileCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "detach-profile", Usage: "take an interface on a network away from a profile", ArgsUsage: "NETWORK PROFILE [DEVICE]",
		Description: example("DEVICE is needed when several devices are on the network.", "poolctl network detach-profile poolbr0 default"),
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return s.DetachNetworkProfile(ctx, networkAttachment(args))
		}),
	}
}
