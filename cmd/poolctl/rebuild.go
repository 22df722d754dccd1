package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func rebuildCommand(e *env) *cli.Command {
	var empty, force bool
	return &cli.Command{
		Name: "rebuild", Category: catInstances, Usage: "give an instance a new root of an image", ArgsUsage: "[[REMOTE:]IMAGE] NAME",
		Description: example("Its root is wiped; configuration, devices, addresses and snapshots stay. Without IMAGE it is the one that the instance was made of.",
			"poolctl rebuild images:alpine/3.20 c1", "poolctl rebuild --empty c1"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "empty", Usage: "an empty root, without an image", Destination: &empty},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "stop it first if it runs, and start it again unless --empty", Destination: &force},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) (err error) {
			o := pool.RebuildOptions{Name: args[len(args)-1], Empty: empty, Force: force}
			if len(args) == 2 {
				if o.Image = args[0]; empty {
					return badUsage("rebuild", "either an image or --empty")
				}
			}
			update, done := e.progress()
			defer func() { done(err == nil) }()
			o.Progress = update
			return s.Rebuild(ctx, o)
		}),
	}
}
