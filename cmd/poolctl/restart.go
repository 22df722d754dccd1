package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func restartCommand(e *env) *cli.Command {
	o := &stopOptions{}
	var all bool
	return &cli.Command{
		Name: "restart", Category: catInstances, Usage: "stop and start instances", ArgsUsage: "NAME...", Description: example("", "poolctl restart c1"),
		Flags: append(o.flags(), allFlag(&all, "all that run")),
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.RunningInstances() },
			func(ctx context.Context, s *pool.System, names []string) error {
				return eachAtOnce(ctx, names, func(ctx context.Context, name string) error { return s.Restart(ctx, name, o.options()) })
			}),
	}
}
