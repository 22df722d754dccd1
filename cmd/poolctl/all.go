package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// allFlag is --all, in place of names.
func allFlag(all *bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: "all", Usage: usage, Destination: all}
}

// namesOrAll makes the action of a command that takes names, or --all for those
// that list gives.
func (e *env) namesOrAll(all *bool, list func(ctx context.Context, s *pool.System) ([]string, error),
	run func(ctx context.Context, s *pool.System, names []string) error,
) cli.ActionFunc {
	return func(c *cli.Context) error {
		if *all && c.NArg() > 0 {
			return usagef(c, "either names or --all")
		}
		least := 1
		if *all {
			least = 0
		}
		return e.action(least, many, func(ctx context.Context, s *pool.System, names []string) error {
			if *all {
				var err error
				if names, err = list(ctx, s); err != nil {
					return err
				}
			}
			return run(ctx, s, names)
		})(c)
	}
}
