package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

func infoCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "info", Category: catInstances, Usage: "show an instance's state, or the host's", ArgsUsage: "[NAME]",
		Description: example("Without NAME: the host's kernel, what it can do for poolctl, and the pools, as YAML.", "poolctl info", "poolctl info c1"),
		Flags:       []cli.Flag{textFormatFlag(&format)},
		Action: e.action(0, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if len(args) == 0 {
				return e.hostInfo(ctx, s, nameOr(format, output.YAML))
			}
			in, err := s.InstanceInfo(ctx, args[0])
			if err != nil {
				return err
			}
			if format != "" {
				return output.Value(e.stdout, format, viewOf(in))
			}
			return e.printf("%s", table.Clean(instanceText(in)))
		}),
	}
}

func (e *env) hostInfo(ctx context.Context, s *pool.System, format string) error {
	info, err := s.HostInfo(ctx)
	if err != nil {
		return err
	}
	return output.Value(e.stdout, format, info)
}
