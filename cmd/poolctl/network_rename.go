package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "give a network and its bridge another name", ArgsUsage: "NAME NEW",
		Description: example("Refuses while an instance or a profile uses it.", "poolctl network rename br1 lab0"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.RenameNetwork(ctx, args[0], args[1]); err != nil {
				return err
			}
			e.say("Network %s renamed to %s", args[0], args[1])
			return nil
		}),
	}
}
