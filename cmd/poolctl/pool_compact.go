package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolCompactCommand(e *env) *cli.Command {
	var shrink string
	return &cli.Command{
		Name: "compact", Usage: "make a pool's file take as little of the host as it can", ArgsUsage: "NAME",
		Description: example("Balances sparsely used block groups, shrinks the pool if asked to, and trims.", "poolctl pool compact default --shrink=auto", "poolctl pool compact default --shrink=10GiB"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "shrink", Usage: "make the pool smaller as well, to `SIZE`; auto is what is used and a quarter more, min the smallest that is safe", Destination: &shrink},
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			update, done := e.progress()
			o := pool.CompactOptions{Shrink: shrink != "", Size: shrink, Progress: update}
			if shrink == "auto" {
				o.Size = ""
			}
			r, err := s.CompactPool(ctx, args[0], o)
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
