package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

const listHelp = `Filters: the beginning of a name, a regular expression that matches a whole name, KEY=VALUE for the configuration
(VALUE a regular expression, KEY may be abbreviated: u.blah), name=, type=, status=, architecture=, location=, ipv4=,
ipv6= (an address or subnet). All of them have to match.

Columns: n name, s state, 4 IPv4, 6 IPv6, t type, S snapshots, p PID, P profiles, a architecture, b storage pool,
c created, d description, D disk usage, e project, f base image (short), F base image, l last used, L location,
m memory, M memory in percent of what it may have, N processes, u CPU seconds, U started; or, between commas, a key of
the configuration or of a device with a heading and a width: user.comment:COMMENT:20, devices:eth0.network`

const (
	defaultColumns = "ns46tS"
	fastColumns    = "nsacPt"
)

func listCommand(e *env) *cli.Command {
	var format, columns string
	var fast bool
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Category: catInstances, Usage: "list instances", ArgsUsage: "[FILTER...]",
		Description: example(listHelp, "poolctl list status=running", "poolctl list web -c n4m --format csv"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: defaultColumns, Destination: &columns},
			&cli.BoolFlag{Name: "fast", Usage: "the same as --columns=" + fastColumns, Destination: &fast},
		},
		Action: e.action(0, many, func(ctx context.Context, s *pool.System, filters []string) error {
			if fast {
				columns = fastColumns
			}
			cols, err := listColumns(columns)
			if err != nil {
				return err
			}
			instances, err := s.Instances(ctx)
			if err != nil {
				return err
			}
			instances = slices.DeleteFunc(instances, func(in pool.Instance) bool { return !instanceMatches(in, filters) })
			if slices.ContainsFunc(cols, func(c listColumn) bool { return c.heading == "DISK USAGE" }) {
				if err := s.AddDiskUsage(ctx, instances); err != nil {
					return err
				}
			}
			return instanceList(instances, filters, cols).Write(e.stdout, format)
		}),
	}
}

// instanceList has the instances that all filters match, sorted as incus sorts
// them.
func instanceList(instances []pool.Instance, filters []string, columns []listColumn) output.List {
	l := output.List{}
	for _, c := range columns {
		l.Header = append(l.Header, c.heading)
	}
	views := []instanceView{}
	for _, in := range instances {
		if !instanceMatches(in, filters) {
			continue
		}
		views = append(views, viewOf(in))
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = c.cell(in)
		}
		l.Rows = append(l.Rows, row)
	}
	table.SortNatural(l.Rows)
	l.Values = views
	return l
}
