package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func snapshotListCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list an instance's snapshots, the oldest first", ArgsUsage: "NAME",
		Description: example("Columns: n name, T when it was taken, E when it may be deleted, s stateful. As JSON or YAML\n"+
			"each is what `snapshot show` prints, without what it takes.", "poolctl snapshot list c1", "poolctl snapshot list c1 -c nT -f csv"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "nTEs", Destination: &columns},
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			header, rows, err := snapshotColumns(columns)
			if err != nil {
				return err
			}
			if base := output.Base(format); base == output.JSON || base == output.YAML {
				all, err := s.SnapshotConfigs(ctx, args[0])
				if err != nil {
					return err
				}
				return output.List{Header: header, Values: all}.Write(e.stdout, format)
			}
			snaps, err := s.Snapshots(ctx, args[0])
			if err != nil {
				return err
			}
			return output.List{Header: header, Rows: rows(snaps)}.Write(e.stdout, format)
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

// snapshotColumns are incus's columns of snapshots by their letters.
func snapshotColumns(letters string) (header []string, rows func([]pool.Snapshot) [][]string, err error) {
	cells := []func(pool.Snapshot) string{}
	for _, r := range letters {
		var name string
		var cell func(pool.Snapshot) string
		switch r {
		case ',':
			continue
		case 'n':
			name, cell = "NAME", func(sn pool.Snapshot) string { return sn.Name }
		case 'T':
			name, cell = "TAKEN AT", func(sn pool.Snapshot) string { return localTime(sn.CreatedAt) }
		case 'E':
			name, cell = "EXPIRES AT", func(sn pool.Snapshot) string { return localTime(sn.ExpiresAt) }
		case 's':
			name, cell = "STATEFUL", func(sn pool.Snapshot) string { return yesNo(sn.Stateful) }
		default:
			return nil, nil, badUsage("snapshot list", "unknown column %q", string(r))
		}
		header, cells = append(header, name), append(cells, cell)
	}
	return header, func(snaps []pool.Snapshot) [][]string {
		var out [][]string
		for _, sn := range snaps {
			var row []string
			for _, cell := range cells {
				row = append(row, cell(sn))
			}
			out = append(out, row)
		}
		return out
	}, nil
}

// localTime is a time in the user's zone, "" for none.
func localTime(t time.Time) string {
	if !isSet(t) {
		return ""
	}
	return minute(t.Local())
}
