package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolCompactCommand(e *env) *cli.Command {
	var o pool.CompactOptions
	return &cli.Command{
		Name: "compact", Usage: "make a pool's file take as little of the host as it can", ArgsUsage: "NAME",
		Description: example("Balances sparsely used block groups, shrinks the pool if asked to, and trims.", "poolctl pool compact default --shrink"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "shrink", Usage: "make the pool smaller as well: what is used and a quarter more", Destination: &o.Shrink},
			&cli.StringFlag{Name: "size", Usage: "shrink it to `SIZE`", Destination: &o.Size},
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			run := o
			run.Shrink = o.Shrink || o.Size != ""
			update, done := e.progress()
			run.Progress = update
			r, err := s.CompactPool(ctx, args[0], run)
			done(err == nil)
			if err != nil {
				return err
			}
			e.say("Storage pool %s compacted: %s, %s before; %s on the host, %s before", args[0],
				output.IEC(r.SizeAfter), output.IEC(r.SizeBefore), output.IEC(r.AllocatedAfter), output.IEC(r.AllocatedBefore))
			return nil
		}),
	}
}
