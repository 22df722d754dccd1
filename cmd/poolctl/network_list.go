package main

import (
	"context"
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

type networkColumn struct {
	heading string
	cell    func(pool.Network) string
}

func networkColumnOf(letter rune) (networkColumn, bool) {
	switch letter {
	case 'n':
		return networkColumn{"NAME", func(n pool.Network) string { return n.Name }}, true
	case 't':
		return networkColumn{"TYPE", func(n pool.Network) string { return n.Type }}, true
	case 'm':
		return networkColumn{"MANAGED", func(n pool.Network) string { return yesNo(n.Managed) }}, true
	case '4':
		return networkColumn{"IPV4", func(n pool.Network) string { return n.Config["ipv4.address"] }}, true
	case '6':
		return networkColumn{"IPV6", func(n pool.Network) string { return n.Config["ipv6.address"] }}, true
	case 'd':
		return networkColumn{"DESCRIPTION", func(n pool.Network) string { return n.Description }}, true
	case 'u':
		return networkColumn{"USED BY", func(n pool.Network) string { return strconv.Itoa(len(n.UsedBy)) }}, true
	case 's':
		return networkColumn{"STATE", func(n pool.Network) string { return strings.ToUpper(n.Status) }}, true
	}
	return networkColumn{}, false
}

func networkColumns(letters string) ([]networkColumn, error) {
	var out []networkColumn
	for _, l := range strings.ReplaceAll(letters, ",", "") {
		c, ok := networkColumnOf(l)
		if !ok {
			return nil, badUsage("network list", "unknown column %q in %q", l, letters)
		}
		out = append(out, c)
	}
	return out, nil
}

// networkList leaves the loopback and interfaces of unknown type to JSON and
// YAML, as lxc does.
func networkList(networks []pool.Network, columns []networkColumn) output.List {
	l := output.List{Values: orEmpty(networks)}
	for _, c := range columns {
		l.Header = append(l.Header, c.heading)
	}
	for _, n := range networks {
		if n.Type == "loopback" || n.Type == "unknown" {
			continue
		}
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = c.cell(n)
		}
		l.Rows = append(l.Rows, row)
	}
	table.SortNatural(l.Rows)
	return l
}
