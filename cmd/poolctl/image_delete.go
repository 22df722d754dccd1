package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func imageDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete images; instances made from them stay", ArgsUsage: "IMAGE...",
		Description: example("An image is named by an alias or the beginning of its fingerprint.", "poolctl image delete alpine ef1a4fe020b6"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.DeleteImage)
		}),
	}
}
