package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

func networkListLeasesCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list-leases", Usage: "list the addresses of a network and whose they are", ArgsUsage: "NAME",
		Description: example("An address is an instance's whether that runs or not. STATIC are those that a device asks for.\n"+
			"Columns: h hostname, m MAC address, i IP address, t type", "poolctl network list-leases poolbr0 --format csv -c hi"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "hmit", Destination: &columns},
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			cols, err := pickColumns("network list-leases", columns, []column[pool.NetworkLease]{
				{'h', "HOSTNAME", func(l pool.NetworkLease) string { return l.Hostname }},
				{'m', "MAC ADDRESS", func(l pool.NetworkLease) string { return l.Hwaddr }},
				{'i', "IP ADDRESS", func(l pool.NetworkLease) string { return l.Address }},
				{'t', "TYPE", func(l pool.NetworkLease) string { return strings.ToUpper(l.Type) }},
			})
			if err != nil {
				return err
			}
			leases, err := s.NetworkLeases(ctx, args[0])
			if err != nil {
				return err
			}
			l := columnList(cols, leases)
			l.Values = leases
			table.SortNatural(l.Rows)
			return l.Write(e.stdout, format)
		}),
	}
}
