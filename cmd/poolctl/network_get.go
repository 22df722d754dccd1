package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkGetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "get", Usage: "show the value of a key of a network's configuration", ArgsUsage: "NAME KEY",
		Description: example("A key that is not set has an empty one.", "poolctl network get poolbr0 ipv4.address", "poolctl network get -p poolbr0 description"),
		Flags:       []cli.Flag{propertyFlag(&property, "show a property, such as description, in place of a key")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if property {
				if _, err := networkProperties(map[string]string{args[1]: ""}); err != nil {
					return err
				}
				config, err := s.NetworkConfig(ctx, args[0])
				if err != nil {
					return err
				}
				return e.printf("%s\n", config.Description)
			}
			value, err := s.NetworkValue(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return e.printf("%s\n", value)
		}),
	}
}
