package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func umountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "umount", Aliases: []string{"unmount"}, Category: catSnapshots, Usage: "end a look inside", ArgsUsage: "DIR|NAME[/SNAPSHOT]|[local:]IMAGE...",
		Description: example("", "poolctl umount /mnt", "poolctl umount c1"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.Unmount)
		}),
	}
}
