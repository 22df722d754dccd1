package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func mountCommand(e *env) *cli.Command {
	var writable bool
	return &cli.Command{
		Name: "mount", Category: catSnapshots, Usage: "look into an instance or a snapshot at a directory", ArgsUsage: "NAME[/SNAPSHOT] [DIR]",
		Description: example("Read-only unless --rw. Without DIR a directory is made and its path printed.", "poolctl mount c1/before-upgrade /mnt"),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "rw", Usage: "let it be written to; the instance must not run", Destination: &writable}},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			where, err := s.MountInstance(ctx, args[0], optional(args, 1), writable)
			if err != nil {
				return err
			}
			return e.printMount(where, args)
		}),
	}
}
