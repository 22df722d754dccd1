package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func deleteCommand(e *env) *cli.Command {
	var force, now bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Category: catInstances, Usage: "delete instances with their snapshots, or single snapshots", ArgsUsage: "NAME[/SNAPSHOT]...",
		Description: example("They go into the trash of their pool: see `poolctl undelete`. Ephemeral instances are gone, as they are when they stop.",
			"poolctl delete c1", "poolctl delete --force c1 c2", "poolctl delete --now c1/snap0"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "delete a running one too", Destination: &force},
			nowFlag(&now),
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return eachAtOnce(ctx, args, func(ctx context.Context, name string) error {
				if instance, snapshot, is := strings.Cut(name, "/"); is {
					return deleteSnapshot(ctx, s, instance, snapshot, now)
				}
				if now {
					return s.Delete(ctx, name, force)
				}
				return s.TrashInstance(ctx, name, force)
			})
		}),
	}
}

// nowFlag is --now of the commands that delete something.
func nowFlag(now *bool) cli.Flag {
	return &cli.BoolFlag{Name: "now", Usage: "delete it for good, not into the trash", Destination: now}
}
