package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func snapshotDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete a snapshot", ArgsUsage: "NAME SNAPSHOT",
		Description: example("", "poolctl snapshot delete c1 before-upgrade"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.DeleteSnapshot(ctx, args[0], args[1])
		}),
	}
}
