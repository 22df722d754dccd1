package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolDetachCommand(e *env) *cli.Command {
	var all bool
	return &cli.Command{
		Name: "detach", Usage: "unmount a pool and give its loop device back", ArgsUsage: "NAME...",
		Description: example("The pool's file can then be copied or moved. A pool that is in use is left as it is, and who uses it is said.\n"+
			"One detached by name stays so until a command names it or something in it; what --all detaches, the next command that needs it attaches, and so does attach --all.",
			"poolctl pool detach default", "poolctl pool detach --all"),
		Flags: []cli.Flag{allFlag(&all, "all pools, as before the machine is shut down")},
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.PoolsToAttach() },
			func(ctx context.Context, s *pool.System, names []string) error {
				if all {
					return each(ctx, names, s.ReleasePool)
				}
				return each(ctx, names, s.DetachPool)
			}),
	}
}
