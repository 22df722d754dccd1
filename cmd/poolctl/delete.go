package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func deleteCommand(e *env) *cli.Command {
	var force bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Category: catInstances, Usage: "delete instances with their snapshots", ArgsUsage: "NAME...",
		Description: example("", "poolctl delete c1", "poolctl delete --force c1 c2"),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "delete a running one too", Destination: &force}},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return eachAtOnce(ctx, args, func(ctx context.Context, name string) error { return s.Delete(ctx, name, force) })
		}),
	}
}
