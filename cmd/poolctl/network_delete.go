package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete networks", ArgsUsage: "NAME...",
		Description: example("Refuses while an instance uses it; profiles lose their device on it.", "poolctl network delete poolbr0"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, name string) error {
				if err := s.DeleteNetwork(ctx, name); err != nil {
					return err
				}
				e.say("Network %s deleted", name)
				return nil
			})
		}),
	}
}
