package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// stopOptions are the flags that stop and restart share.
type stopOptions struct {
	force   bool
	timeout int
}

func (o *stopOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "end it at once", Destination: &o.force},
		&cli.IntFlag{Name: "timeout", Usage: "`SECONDS` that a clean stop may take", Value: 30, Destination: &o.timeout, Action: positive},
	}
}

// positive refuses a number below 1.
func positive(c *cli.Context, n int) error {
	if n < 1 {
		return usagef(c, "%d is not a positive number", n)
	}
	return nil
}

func (o *stopOptions) options() pool.StopOptions {
	return pool.StopOptions{Force: o.force, Timeout: time.Duration(o.timeout) * time.Second}
}

func stopCommand(e *env) *cli.Command {
	o := &stopOptions{}
	var all bool
	return &cli.Command{
		Name: "stop", Category: catInstances, Usage: "stop instances", ArgsUsage: "NAME...",
		Description: example("With the signal that the instance's init understands; after the timeout it is left running.",
			"poolctl stop c1 --timeout 10", "poolctl stop --all"),
		Flags: append(o.flags(), allFlag(&all, "all that run")),
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.RunningInstances() },
			func(ctx context.Context, s *pool.System, names []string) error {
				return eachAtOnce(ctx, names, func(ctx context.Context, name string) error { return s.Stop(ctx, name, o.options()) })
			}),
	}
}
