package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func pauseCommand(e *env) *cli.Command {
	var all bool
	return &cli.Command{
		Name: "pause", Category: catInstances, Usage: "stop the processes of instances where they are", ArgsUsage: "NAME...",
		Description: example("They keep their memory and addresses, and go on after resume; until then exec is refused.", "poolctl pause c1"),
		Flags:       []cli.Flag{allFlag(&all, "all that run")},
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.ActiveInstances() },
			func(ctx context.Context, s *pool.System, names []string) error {
				return eachAtOnce(ctx, names, s.Pause)
			}),
	}
}

func resumeCommand(e *env) *cli.Command {
	var all bool
	return &cli.Command{
		Name: "resume", Category: catInstances, Usage: "let the processes of paused instances go on", ArgsUsage: "NAME...",
		Description: example("", "poolctl resume c1"),
		Flags:       []cli.Flag{allFlag(&all, "all that are paused")},
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.PausedInstances() },
			func(ctx context.Context, s *pool.System, names []string) error {
				return eachAtOnce(ctx, names, s.Resume)
			}),
	}
}
