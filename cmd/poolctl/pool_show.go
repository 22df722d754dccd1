package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a pool's configuration and what uses it", ArgsUsage: "NAME", Description: example("", "poolctl pool show default"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			p, err := s.Pool(ctx, args[0])
			if err != nil {
				return err
			}
			slices.Sort(p.UsedBy) // as lxc does
			return output.Value(e.stdout, format, p)
		}),
	}
}
