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
	var showLog bool
	return &cli.Command{
		Name: "info", Category: catInstances, Usage: "show an instance's state, or the host's", ArgsUsage: "[NAME]",
		Description: example("Without NAME: the host's kernel, what it can do for poolctl, and the pools, as YAML.", "poolctl info", "poolctl info c1", "poolctl info c1 --show-log"),
		Flags: []cli.Flag{
			textFormatFlag(&format),
			&cli.BoolFlag{Name: "show-log", Usage: "show the log of its supervisor, too: what went wrong with it", Destination: &showLog},
		},
		Action: e.action(0, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if showLog && (len(args) == 0 || format != "") {
				return badUsage("info", "--show-log is for one instance, and the text of it")
			}
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
			if err := e.printf("%s", table.Clean(instanceText(in))); err != nil || !showLog {
				return err
			}
			log, err := s.InstanceLog(args[0])
			if err != nil {
				return err
			}
			return e.printf("\nLog:\n\n%s", table.Clean(log))
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
