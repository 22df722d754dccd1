package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func networkShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a network's configuration and what uses it", ArgsUsage: "NAME", Description: example("", "poolctl network show poolbr0"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			n, err := s.Network(ctx, args[0])
			if err != nil {
				return err
			}
			slices.Sort(n.UsedBy) // as lxc does
			return output.Value(e.stdout, format, n)
		}),
	}
}
