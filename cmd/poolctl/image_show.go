package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func imageShowCommand(e *env) *cli.Command {
	var format string
	var vm bool
	return &cli.Command{
		Name: "show", Usage: "show an image's properties", ArgsUsage: "[REMOTE:]IMAGE", Description: example("", "poolctl image show alpine"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML), vmFlag(&vm)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			v, err := findImage(ctx, s, args[0], vm)
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, pool.ImagePut{AutoUpdate: v.AutoUpdate, Properties: v.Properties, Public: v.Public, ExpiresAt: v.ExpiresAt, Profiles: v.Profiles})
		}),
	}
}
