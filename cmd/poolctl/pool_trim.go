package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolTrimCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "trim", Usage: "give the free blocks of pools back to the host", ArgsUsage: "NAME...",
		Description: example("Waits until what was deleted is freed, and then punches holes into the pool's file.", "poolctl pool trim default"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, name string) error {
				r, err := s.TrimPool(ctx, name)
				if err != nil {
					return err
				}
				text := "Storage pool " + name + ": " + output.IEC(int64(r.Trimmed)) + " trimmed"
				if r.Before > 0 {
					text += "; its file takes " + output.IEC(r.After) + " on the host, " + output.IEC(max(0, r.Before-r.After)) + " less than before"
				}
				e.say("%s", text)
				return nil
			})
		}),
	}
}
