package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func snapshotListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list an instance's snapshots, the oldest first", ArgsUsage: "NAME",
		Description: example("", "poolctl snapshot list c1"),
		Flags:       []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			snaps, err := s.Snapshots(ctx, args[0])
			if err != nil {
				return err
			}
			return output.List{Header: snapshotHeader(), Rows: snapshotRows(snaps), Values: orEmpty(snaps)}.Write(e.stdout, format)
		}),
	}
}

func snapshotHeader() []string { return []string{"NAME", "TAKEN AT", "EXPIRES AT", "STATEFUL"} }

func snapshotRows(snaps []pool.Snapshot) [][]string {
	var rows [][]string
	for _, sn := range snaps {
		rows = append(rows, []string{sn.Name, localTime(sn.CreatedAt), localTime(sn.ExpiresAt), yesNo(sn.Stateful)})
	}
	return rows
}

// localTime is a time in the user's zone, "" for none.
func localTime(t time.Time) string {
	if !isSet(t) {
		return ""
	}
	return minute(t.Local())
}
