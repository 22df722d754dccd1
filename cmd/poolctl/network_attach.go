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

// networkAttachmentCommand is a command that takes such arguments, and at most so many.
func networkAttachmentCommand(e *env, cmd *cli.Command, most int, do func(*pool.System, context.Context, pool.AttachNetworkOptions) error) *cli.Command {
	cmd.Action = e.action(2, most, func(ctx context.Context, s *pool.System, args []string) error {
		return do(s, ctx, networkAttachment(args))
	})
	return cmd
}

const (
	networkAttachUsage = "The device is called as the network unless DEVICE is given. INTERFACE is the name inside: else that of DEVICE, or the first\n" +
		"of eth0, eth1, ... that is free. NETWORK may also be a bridge or another link of the host's; the latter is shared (macvlan)."
	networkDetachUsage = "DEVICE is needed when several devices are on the network."
)

func networkAttachCommand(e *env) *cli.Command {
	return networkAttachmentCommand(e, &cli.Command{
		Name: "attach", Usage: "give an instance an interface on a network", ArgsUsage: "NETWORK NAME [DEVICE [INTERFACE]]",
		Description: example(networkAttachUsage, "poolctl network attach poolbr0 c1", "poolctl network attach poolbr0 c1 eth1"),
	}, 4, (*pool.System).AttachNetwork)
}

func networkAttachProfileCommand(e *env) *cli.Command {
	return networkAttachmentCommand(e, &cli.Command{
		Name: "attach-profile", Usage: "give all instances of a profile an interface on a network", ArgsUsage: "NETWORK PROFILE [DEVICE [INTERFACE]]",
		Description: example(networkAttachUsage, "poolctl network attach-profile poolbr0 default eth0"),
	}, 4, (*pool.System).AttachNetworkProfile)
}

func networkDetachCommand(e *env) *cli.Command {
	return networkAttachmentCommand(e, &cli.Command{
		Name: "detach", Usage: "take an interface on a network away from an instance", ArgsUsage: "NETWORK NAME [DEVICE]",
		Description: example(networkDetachUsage, "poolctl network detach poolbr0 c1"),
	}, 3, (*pool.System).DetachNetwork)
}

func networkDetachProfileCommand(e *env) *cli.Command {
	return networkAttachmentCommand(e, &cli.Command{
		Name: "detach-profile", Usage: "take an interface on a network away from a profile", ArgsUsage: "NETWORK PROFILE [DEVICE]",
		Description: example(networkDetachUsage, "poolctl network detach-profile poolbr0 default"),
	}, 3, (*pool.System).DetachNetworkProfile)
}
