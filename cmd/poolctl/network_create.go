package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkCreateCommand(e *env) *cli.Command {
	var description, kind string
	return &cli.Command{
		Name: "create", Usage: "create a bridge", ArgsUsage: "NAME [KEY=VALUE...]",
		Description: example("Keys: ipv4.address and ipv6.address (an address with its prefix length, auto or none), user.*",
			"poolctl network create br1 ipv4.address=10.1.2.1/24 ipv6.address=none"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "description", Usage: "`TEXT` about the network", Destination: &description},
			&cli.StringFlag{
				Name: "type", Aliases: []string{"t"}, Usage: "`TYPE` of the network", Value: "bridge", Destination: &kind,
				Action: func(c *cli.Context, t string) error {
					if t != "bridge" {
						return usagef(c, "unknown type %q: only bridge", t)
					}
					return nil
				},
			},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			config, err := keyValues("network create", args[1:])
			if err != nil {
				return err
			}
			if err := s.CreateNetwork(ctx, args[0], config, description); err != nil {
				return err
			}
			e.say("Network %s created", args[0])
			return nil
		}),
	}
}
