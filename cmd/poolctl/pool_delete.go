package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolDeleteCommand(e *env) *cli.Command {
	var force bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete pools and what they lie on", ArgsUsage: "NAME...",
		Description: example("Refuses while instances, virtual machines, volumes or images are in it, or files that are not the pool's, and for a pool that was adopted: `pool forget` gives one up and keeps what it lies on. A device is left empty; in a directory only what is the pool's is deleted, also with --force.", "poolctl pool delete fast --force"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "delete the instances and images in it too", Destination: &force},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, name string) error {
				if err := s.DeletePool(ctx, name, force); err != nil {
					return err
				}
				e.say("Storage pool %s deleted", name)
				return nil
			})
		}),
	}
}
