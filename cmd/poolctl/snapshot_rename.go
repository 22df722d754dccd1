package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func snapshotRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "rename a snapshot of an instance", ArgsUsage: "NAME OLD NEW",
		Description: example("", "poolctl snapshot rename c1 snap0 before-upgrade", "poolctl snapshot rename c1/snap0 before-upgrade"),
		Action: e.ofSnapshot(3, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RenameSnapshot(ctx, args[0], args[1], args[2])
		}),
	}
}
