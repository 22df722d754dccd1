package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func startCommand(e *env) *cli.Command {
	var all bool
	return &cli.Command{
		Name: "start", Category: catInstances, Usage: "start instances, or resume paused ones", ArgsUsage: "NAME...",
		Description: example("", "poolctl start c1 c2"),
		Flags:       []cli.Flag{allFlag(&all, "all that do not run")},
		Action: e.namesOrAll(&all, func(ctx context.Context, s *pool.System) ([]string, error) { return s.StoppedInstances(ctx) },
			func(ctx context.Context, s *pool.System, names []string) error {
				return eachAtOnce(ctx, names, s.Start)
			}),
	}
}
