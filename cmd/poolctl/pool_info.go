package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolInfoCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "info", Usage: "show what a pool lies on, its loop device and its space", ArgsUsage: "NAME",
		Description: example("As the kernel reports them now. Sizes are in bytes.", "poolctl pool info default"),
		Flags:       []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			info, err := s.PoolInfo(ctx, args[0])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, info)
		}),
	}
}
