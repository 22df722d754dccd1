package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func shellCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "shell", Category: catInstances, Usage: "a login shell of root's in an instance", ArgsUsage: "NAME",
		Description: example("The same as exec NAME -- su -l.", "poolctl shell c1"),
		Action: e.actionWith(pool.Options{CleanUpLater: true}, 1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			return e.exec(ctx, s, []string{args[0], "su", "-l"}, &execOptions{mode: "auto"})
		}),
	}
}
