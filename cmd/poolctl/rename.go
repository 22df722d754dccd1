package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func renameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Category: catInstances, Usage: "rename a stopped instance", ArgsUsage: "NAME NEW",
		Description: example("Its snapshots, addresses and logs go with it.", "poolctl rename c1 web1"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return renameInstance(ctx, s, "rename", args[0], args[1])
		}),
	}
}

// renameInstance is rename, and move without a pool.
func renameInstance(ctx context.Context, s *pool.System, command, from, to string) error {
	switch {
	case strings.Contains(from, "/"):
		return badUsage(command, "%q is a snapshot: those are renamed with poolctl snapshot", from)
	case isOnOtherServer(to):
		return badUsage(command, "%q is on another server: instances are renamed within their pool", to)
	}
	return s.RenameInstance(ctx, from, to)
}
