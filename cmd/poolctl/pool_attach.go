package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolAttachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "attach a pool's file to a loop device and mount it", ArgsUsage: "NAME...",
		Description: example("Commands that need a pool attach it themselves.", "poolctl pool attach default"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.AttachPool)
		}),
	}
}
