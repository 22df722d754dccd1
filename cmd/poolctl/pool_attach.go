package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolAttachCommand(e *env) *cli.Command {
	var all bool
	var source string
	return &cli.Command{
		Name: "attach", Usage: "attach a pool's file to a loop device and mount it", ArgsUsage: "NAME...",
		Description: example("Commands that need a pool attach it themselves. When one of several cannot be attached the others are, and the exit code is 1.",
			"poolctl pool attach default", "poolctl pool attach --all", "poolctl pool attach default --source /mnt/big/default.img"),
		Flags: []cli.Flag{
			allFlag(&all, "all pools that were not detached by name, as at boot (poolctl admin systemd)"),
			&cli.StringFlag{Name: "source", Usage: "the pool's file has been moved to `FILE`", Destination: &source, TakesFile: true},
		},
		Action: e.namesOrAll(&all, func(_ context.Context, s *pool.System) ([]string, error) { return s.PoolsToAttach() },
			func(ctx context.Context, s *pool.System, names []string) error {
				if source == "" {
					return each(ctx, names, s.AttachPool)
				}
				if all || len(names) != 1 {
					return badUsage("pool attach", "--source is for one pool")
				}
				return s.AttachPoolFrom(ctx, names[0], source)
			}),
	}
}
