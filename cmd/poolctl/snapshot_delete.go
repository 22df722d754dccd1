package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func snapshotDeleteCommand(e *env) *cli.Command {
	var now bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete a snapshot", ArgsUsage: "NAME SNAPSHOT",
		Description: example("It goes into the trash: `poolctl undelete NAME/SNAPSHOT` brings it back.", "poolctl snapshot delete c1 before-upgrade", "poolctl snapshot delete c1/before-upgrade"),
		Flags:       []cli.Flag{nowFlag(&now)},
		Action: e.ofSnapshot(2, func(ctx context.Context, s *pool.System, args []string) error {
			return deleteSnapshot(ctx, s, args[0], args[1], now)
		}),
	}
}

func deleteSnapshot(ctx context.Context, s *pool.System, instance, snapshot string, now bool) error {
	if now {
		return s.DeleteSnapshot(ctx, instance, snapshot)
	}
	return s.TrashSnapshot(ctx, instance, snapshot)
}
