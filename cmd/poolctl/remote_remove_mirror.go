package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func remoteRemoveMirrorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "remove-mirror", Usage: "take a URL away from a remote", ArgsUsage: "NAME URL",
		Description: example("", "poolctl remote remove-mirror images https://mirrors.tuna.tsinghua.edu.cn/lxc-images"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RemoveRemoteMirror(ctx, args[0], args[1])
		}),
	}
}
