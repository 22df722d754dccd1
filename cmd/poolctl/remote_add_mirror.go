package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteAddMirrorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "add-mirror", Usage: "add a server that has the same files as a remote", ArgsUsage: "NAME URL",
		Description: example(`The freshest catalogue of all is used, and a file comes from the first server that has it; one that is dead,
slow, stale or that sends something else is left for the next, in the middle of a file too.`, "poolctl remote add-mirror images https://mirrors.tuna.tsinghua.edu.cn/lxc-images"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.AddRemoteMirror(ctx, args[0], args[1])
		}),
	}
}
