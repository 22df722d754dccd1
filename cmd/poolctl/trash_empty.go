package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func trashEmptyCommand(e *env) *cli.Command {
	var o pool.EmptyTrashOptions
	return &cli.Command{
		Name: "empty", Usage: "delete for good what is in the trash", ArgsUsage: "[NAME...]",
		Description: example("All of it, or what had those names. It ends when the room is free.",
			"poolctl trash empty", "poolctl trash empty --older-than 2d", "poolctl trash empty --pool default c1"),
		Flags: append(trashFlags(&o.TrashQuery),
			&cli.StringFlag{Name: "older-than", Usage: "only what was deleted longer ago than `SPAN`: 2d, 12H, 1w 2d", Destination: &o.OlderThan}),
		Action: e.action(0, many, func(ctx context.Context, s *pool.System, args []string) error {
			o.Names = args
			gone, err := s.EmptyTrash(ctx, o)
			for _, it := range gone {
				e.say("%s deleted from the trash of pool %s", trashedName(it), it.Pool)
			}
			return err
		}),
	}
}
