package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// snapshotRestoreCommand is `snapshot restore` and, as in lxc, `restore`; parent
// is "snapshot " or "".
func snapshotRestoreCommand(e *env, parent, category string) *cli.Command {
	var keep, stateful bool
	return &cli.Command{
		Name: "restore", Category: category, Usage: "bring an instance back to a snapshot", ArgsUsage: "NAME SNAPSHOT",
		Description: example("A running instance is stopped for it and started again. Its configuration and devices are the snapshot's then; its size\n"+
			"and addresses stay. What it is now is kept until the snapshot has taken its place, and with --keep as a snapshot.",
			"poolctl "+parent+"restore c1 before-upgrade", "poolctl "+parent+"restore c1 before-upgrade --keep"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave the present state as a new snapshot", Destination: &keep}, statefulFlag(&stateful)},
		Action: e.ofSnapshot(2, func(ctx context.Context, s *pool.System, args []string) error {
			if stateful {
				return errStateful
			}
			return s.RestoreSnapshot(ctx, pool.RestoreOptions{Instance: args[0], Snapshot: args[1], Keep: keep})
		}),
	}
}
