package main

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

const networkColumnsHelp = `Columns: n name, t type, m managed, 4 IPv4, 6 IPv6, d description, u used by, s state`

func networkListCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list networks and the host's other interfaces",
		Description: example(networkColumnsHelp, "poolctl network list --format csv -c n4"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "ntm46dus", Destination: &columns},
		},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			cols, err := networkColumns(columns)
			if err != nil {
				return err
			}
			networks, err := s.Networks(ctx)
			if err != nil {
				return err
			}
			return networkList(networks, cols).Write(e.stdout, format)
		}),
	}
}

func networkColumns(letters string) ([]column[pool.Network], error) {
	return pickColumns("network list", letters, []column[pool.Network]{
		{'n', "NAME", func(n pool.Network) string { return n.Name }},
		{'t', "TYPE", func(n pool.Network) string { return n.Type }},
		{'m', "MANAGED", func(n pool.Network) string { return yesNo(n.Managed) }},
		{'4', "IPV4", func(n pool.Network) string { return n.Config["ipv4.address"] }},
		{'6', "IPV6", func(n pool.Network) string { return n.Config["ipv6.address"] }},
		{'d', "DESCRIPTION", func(n pool.Network) string { return n.Description }},
		{'u', "USED BY", func(n pool.Network) string { return strconv.Itoa(len(n.UsedBy)) }},
		{'s', "STATE", func(n pool.Network) string { return strings.ToUpper(n.Status) }},
	})
}

// networkList leaves the loopback and interfaces of unknown type to JSON and
// YAML, as lxc does.
func networkList(networks []pool.Network, columns []column[pool.Network]) output.List {
	l := columnList(columns, slices.DeleteFunc(slices.Clone(networks), func(n pool.Network) bool {
		return n.Type == "loopback" || n.Type == "unknown"
	}))
	l.Values = orEmpty(networks)
	table.SortNatural(l.Rows)
	return l
}
