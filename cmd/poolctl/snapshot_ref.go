package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// ofSnapshot is action of a command whose n arguments begin with NAME SNAPSHOT, which
// may be written NAME/SNAPSHOT, as everywhere else.
func (e *env) ofSnapshot(n int, run func(ctx context.Context, s *pool.System, args []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		instance, snapshot, joined := strings.Cut(c.Args().First(), "/")
		if !joined {
			return e.action(n, n, run)(c)
		}
		return e.action(n-1, n-1, func(ctx context.Context, s *pool.System, args []string) error {
			return run(ctx, s, append([]string{instance, snapshot}, args[1:]...))
		})(c)
	}
}
