package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func snapshotRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "rename a snapshot of an instance", ArgsUsage: "NAME OLD NEW",
		Description: example("", "poolctl snapshot rename c1 snap0 before-upgrade", "poolctl snapshot rename c1/snap0 before-upgrade",
			"poolctl snapshot rename c1/snap0 c1/before-upgrade"),
		Action: e.ofSnapshot(3, func(ctx context.Context, s *pool.System, args []string) error {
			if instance, to, is := strings.Cut(args[2], "/"); is {
				if instance != args[0] || to == "" {
					return badUsage("snapshot rename", "a snapshot is renamed within its instance: %s/NEW", args[0])
				}
				args[2] = to
			}
			return s.RenameSnapshot(ctx, args[0], args[1], args[2])
		}),
	}
}
