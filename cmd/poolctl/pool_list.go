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

func poolListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the pools", Description: example("", "poolctl pool list --format json"),
		Flags: []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			pools, err := s.Pools(ctx)
			if err != nil {
				return err
			}
			return poolList(pools).Write(e.stdout, format)
		}),
	}
}

// poolList has lxc's columns.
func poolList(pools []pool.Pool) output.List {
	l := output.List{Header: []string{"NAME", "DRIVER", "SOURCE", "DESCRIPTION", "USED BY", "STATE"}, Values: orEmpty(pools)}
	for _, p := range pools {
		l.Rows = append(l.Rows, []string{p.Name, p.Driver, p.Config["source"], p.Description, strconv.Itoa(len(p.UsedBy)), strings.ToUpper(p.Status)})
	}
	table.SortNatural(l.Rows)
	return l
}

// orEmpty is the slice, or an empty one for nil, which JSON would write as null.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
