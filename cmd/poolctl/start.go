package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func startCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "start", Category: catInstances, Usage: "start instances", ArgsUsage: "NAME...", Description: example("", "poolctl start c1 c2"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return eachAtOnce(ctx, args, s.Start)
		}),
	}
}
