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
	var format string
	return &cli.Command{
		Name: "list-leases", Usage: "list the addresses of a network and whose they are", ArgsUsage: "NAME",
		Description: example("An address is an instance's whether that runs or not. STATIC are those that a device asks for.", "poolctl network list-leases poolbr0 --format csv"),
		Flags:       []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			leases, err := s.NetworkLeases(ctx, args[0])
			if err != nil {
				return err
			}
			l := output.List{Header: []string{"HOSTNAME", "MAC ADDRESS", "IP ADDRESS", "TYPE"}, Values: leases}
			for _, lease := range leases {
				l.Rows = append(l.Rows, []string{lease.Hostname, lease.Hwaddr, lease.Address, strings.ToUpper(lease.Type)})
			}
			table.SortNatural(l.Rows)
			return l.Write(e.stdout, format)
		}),
	}
}
