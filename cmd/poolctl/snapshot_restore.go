package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// snapshotRestoreCommand is `snapshot restore` and, as in lxc, `restore`; parent
// is "snapshot " or "".
func snapshotRestoreCommand(e *env, parent, category string) *cli.Command {
	return &cli.Command{
		Name: "restore", Category: category, Usage: "bring an instance back to a snapshot", ArgsUsage: "NAME SNAPSHOT",
		Description: example("A running instance is stopped for it and started again.", "poolctl "+parent+"restore c1 before-upgrade"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RestoreSnapshot(ctx, args[0], args[1])
		}),
	}
}
