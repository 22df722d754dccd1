package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkCreateCommand(e *env) *cli.Command {
	var description, kind string
	return &cli.Command{
		Name: "create", Usage: "create a bridge", ArgsUsage: "NAME [KEY=VALUE...]",
		Description: example(networkKeysHelp(), "poolctl network create br1", "poolctl network create br1 ipv4.address=10.1.2.1/24 ipv6.address=none dns.domain=lab"),
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

// networkKeysHelp tells of each key.
func networkKeysHelp() string {
	var b strings.Builder
	b.WriteString("Without addresses it gets free subnets and NAT. The keys, besides user.*:\n")
	for _, k := range pool.NetworkKeys() {
		fmt.Fprintf(&b, "\n%s: %s", k.Name, k.About)
		if k.Default != "" {
			fmt.Fprintf(&b, " (%s)", k.Default)
		}
	}
	return b.String()
}
