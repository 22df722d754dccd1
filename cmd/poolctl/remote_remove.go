package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteRemoveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "remove", Aliases: []string{"rm"}, Usage: "forget servers; images that were pulled stay", ArgsUsage: "NAME...",
		Description: example("", "poolctl remote remove tuna"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.RemoveRemote)
		}),
	}
}
