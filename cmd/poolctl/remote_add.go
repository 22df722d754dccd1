package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
	"poolctl/remotes"
)

func remoteAddCommand(e *env) *cli.Command {
	var r remotes.Remote
	return &cli.Command{
		Name: "add", Usage: "add a server that images can be pulled from", ArgsUsage: "NAME URL",
		Description: example("", "poolctl remote add tuna https://mirrors.tuna.tsinghua.edu.cn/lxc-images --protocol simplestreams --public"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "protocol", Usage: "`PROTOCOL` of the server", Value: "simplestreams", Destination: &r.Protocol},
			&cli.BoolFlag{Name: "public", Usage: "nobody has to log in to it", Destination: &r.Public},
			&cli.BoolFlag{Name: "insecure-http", Usage: "let the URL be http://, which anyone on the way can forge", Destination: &r.InsecureHTTP},
		},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			r.Name, r.URL = args[0], args[1]
			return s.AddRemote(ctx, r)
		}),
	}
}
