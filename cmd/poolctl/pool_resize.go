package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolResizeCommand(e *env) *cli.Command {
	var plan bool
	var format string
	return &cli.Command{
		Name: "resize", Usage: "grow or shrink a pool while it is in use", ArgsUsage: "NAME SIZE",
		Description: example("SIZE is the new size (20GiB), a difference (+5GiB, -500MiB), min for the smallest that is safe now, or for a pool on a block device max for all of it. "+
			"A shrink that is interrupted leaves the old size.", "poolctl pool resize default +10GiB"),
		Flags: []cli.Flag{planFlag(&plan), formatFlag(&format, output.YAML)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if plan {
				return e.printPlan(format, func() (pool.SpacePlan, error) { return s.PlanResize(ctx, args[0], args[1]) })
			}
			update, done := e.progress()
			err := s.ResizePool(ctx, args[0], args[1], update)
			done(err == nil)
			if err != nil {
				return err
			}
			e.say("Storage pool %s resized", args[0])
			return nil
		}),
	}
}
