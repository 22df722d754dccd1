package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolUmountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "umount", Aliases: []string{"unmount"}, Usage: "end what `pool mount` made", ArgsUsage: "NAME [DIR]",
		Description: example("Without DIR every such mount of the pool ends. The pool stays attached.", "poolctl pool umount default /mnt"),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.UnmountPool(ctx, args[0], optional(args, 1))
		}),
	}
}
