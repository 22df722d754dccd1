package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteSwitchCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "switch", Usage: "choose what an image without a remote means", ArgsUsage: "NAME",
		Description: example("", "poolctl remote switch images"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			return s.SwitchRemote(ctx, args[0])
		}),
	}
}

func remoteGetDefaultCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "get-default", Usage: "show what an image without a remote means",
		Description: example("", "poolctl remote get-default"),
		Action: e.action(0, 0, func(_ context.Context, s *pool.System, _ []string) error {
			name, err := s.DefaultRemote()
			if err != nil {
				return err
			}
			return e.printf("%s\n", name)
		}),
	}
}
