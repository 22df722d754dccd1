package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolMountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "show a pool's content at a directory", ArgsUsage: "NAME [DIR]",
		Description: example("Without DIR the pool is attached and the directory where it is mounted is printed.", "poolctl pool mount default /mnt"),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			where, err := s.MountPool(ctx, args[0], optional(args, 1))
			if err != nil {
				return err
			}
			return e.printMount(where, args)
		}),
	}
}

// printMount prints where something is mounted unless the user said it.
func (e *env) printMount(where string, args []string) error {
	if len(args) > 1 {
		return nil
	}
	return e.printf("%s\n", where)
}

// optional is the argument at i, "" when there is none.
func optional(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}
