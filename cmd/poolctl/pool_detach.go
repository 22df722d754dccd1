package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolDetachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "detach", Usage: "unmount a pool and give its loop device back", ArgsUsage: "NAME...",
		Description: example("The pool's file can then be copied or moved.", "poolctl pool detach default"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.DetachPool)
		}),
	}
}
