package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "give a remote another name", ArgsUsage: "NAME NEWNAME",
		Description: example("", "poolctl remote rename tuna mirror"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RenameRemote(ctx, args[0], args[1])
		}),
	}
}
