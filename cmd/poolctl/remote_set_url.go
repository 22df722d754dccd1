package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteSetURLCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "set-url", Usage: "change a remote's URL", ArgsUsage: "NAME URL",
		Description: example("", "poolctl remote set-url tuna https://example.org/lxc-images"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.SetRemoteURL(ctx, args[0], args[1])
		}),
	}
}
