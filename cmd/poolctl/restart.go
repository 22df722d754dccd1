package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func restartCommand(e *env) *cli.Command {
	o := &stopOptions{}
	return &cli.Command{
		Name: "restart", Category: catInstances, Usage: "stop and start instances", ArgsUsage: "NAME...", Description: example("", "poolctl restart c1"),
		Flags: o.flags(),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return eachAtOnce(ctx, args, func(ctx context.Context, name string) error { return s.Restart(ctx, name, o.options()) })
		}),
	}
}
