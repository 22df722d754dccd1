package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func snapshotShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a snapshot: its configuration, devices and dates, and what it takes", ArgsUsage: "NAME SNAPSHOT",
		Description: example("Of its usage, what is exclusive is what deleting it frees, in bytes. The metadata of the whole pool are read for that.",
			"poolctl snapshot show c1 before-upgrade", "poolctl snapshot show c1/before-upgrade"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.ofSnapshot(2, func(ctx context.Context, s *pool.System, args []string) error {
			sn, err := s.Snapshot(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, sn)
		}),
	}
}
