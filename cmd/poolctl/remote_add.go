package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
	"poolctl/remotes"
)

func remoteAddCommand(e *env) *cli.Command {
	var r remotes.Remote
	var mirrors cli.StringSlice
	var keyring string
	return &cli.Command{
		Name: "add", Usage: "add a server that images can be pulled from", ArgsUsage: "NAME URL",
		Description: example("", "poolctl remote add tuna https://mirrors.tuna.tsinghua.edu.cn/lxc-images --protocol simplestreams --public"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "protocol", Usage: "`PROTOCOL` of the server", Value: "simplestreams", Destination: &r.Protocol},
			&cli.BoolFlag{Name: "public", Usage: "nobody has to log in to it", Destination: &r.Public},
			&cli.BoolFlag{Name: "insecure-http", Usage: "let the URL be http://, which anyone on the way can forge", Destination: &r.InsecureHTTP},
			&cli.StringSliceFlag{Name: "mirror", Usage: "`URL` of another server with the same files; may be repeated", Destination: &mirrors},
			&cli.StringFlag{Name: "keyring", Usage: "accept only catalogues that an OpenPGP key in `FILE` has signed", Destination: &keyring, TakesFile: true},
		},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			r.Name, r.URL, r.Mirrors = args[0], args[1], mirrors.Value()
			if keyring != "" {
				var err error
				if r.Keyring, err = os.ReadFile(keyring); err != nil {
					return fmt.Errorf("cannot add remote %s: %w", r.Name, err)
				}
			}
			return s.AddRemote(ctx, r)
		}),
	}
}
