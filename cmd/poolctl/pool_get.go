package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolGetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "get", Usage: "show the value of a key of a pool's configuration", ArgsUsage: "NAME KEY",
		Description: example("A key that is not set has an empty one.", "poolctl pool get default size", "poolctl pool get -p default description"),
		Flags:       []cli.Flag{propertyFlag(&property, "show a property, such as description, in place of a key")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if property {
				if _, err := poolProperties(map[string]string{args[1]: ""}); err != nil {
					return err
				}
				config, err := s.PoolConfig(ctx, args[0])
				if err != nil {
					return err
				}
				return e.printf("%s\n", config.Description)
			}
			value, err := s.PoolValue(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return e.printf("%s\n", value)
		}),
	}
}
