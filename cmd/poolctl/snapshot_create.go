package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func snapshotCreateCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "create a snapshot of an instance, running or not", ArgsUsage: "NAME [SNAPSHOT]",
		Description: example("Without SNAPSHOT it is called snap0, snap1 and so on.", "poolctl snapshot create c1 before-upgrade"),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			name, err := s.CreateSnapshot(ctx, args[0], optional(args, 1))
			if err == nil && len(args) == 1 {
				e.say("Snapshot name is: %s", name)
			}
			return err
		}),
	}
}
