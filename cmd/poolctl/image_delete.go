package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func imageDeleteCommand(e *env) *cli.Command {
	var storage string
	var now bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete images; instances made from them stay", ArgsUsage: "IMAGE...",
		Description: example("An image is named by an alias or the beginning of its fingerprint. When one of several cannot be deleted, the others are.\n"+
			"They go into the trash of their pools: `poolctl undelete IMAGE` brings one back, with its aliases.",
			"poolctl image delete alpine ef1a4fe020b6"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "only delete them from `POOL`, where several pools have them", Destination: &storage},
			nowFlag(&now),
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, ref string) error {
				if now {
					return s.DeleteImageFrom(ctx, ref, storage)
				}
				return s.TrashImageFrom(ctx, ref, storage)
			})
		}),
	}
}
