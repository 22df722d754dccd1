package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func networkSetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "set", Usage: "change a network's configuration", ArgsUsage: "NAME KEY=VALUE...",
		Description: example("All keys or none are changed, at once, also for running instances: a new subnet moves them there. An empty value\nunsets a key. `network create --help` has the keys.",
			"poolctl network set poolbr0 ipv4.dhcp.ranges=10.1.2.100-10.1.2.199", "poolctl network set poolbr0 ipv4.address=10.1.2.1/24 bridge.mtu=1400",
			"poolctl network set poolbr0 -p description=\"lab\""),
		Flags: []cli.Flag{propertyFlag(&property, "set properties, such as description, in place of keys")},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			words := args[1:]
			if len(words) == 2 && !isPair(words[0]) { // the older form: NAME KEY VALUE
				words = []string{words[0] + "=" + words[1]}
			}
			values, err := keyValues("network set", words)
			if err != nil {
				return err
			}
			change := pool.NetworkChange{Config: values}
			if property {
				if change, err = networkProperties(values); err != nil {
					return err
				}
			}
			return s.SetNetwork(ctx, args[0], change)
		}),
	}
}

// networkProperties are the properties of a network that can be changed.
func networkProperties(values map[string]string) (pool.NetworkChange, error) {
	var change pool.NetworkChange
	for k, v := range values {
		if k != "description" {
			return change, badUsage("network set", "unknown property %q: a network has description", k)
		}
		change.Description = &v
	}
	return change, nil
}

func networkUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "unset a key of a network's configuration", ArgsUsage: "NAME KEY", Description: example("", "poolctl network unset poolbr0 bridge.mtu"),
		Flags: []cli.Flag{propertyFlag(&property, "unset a property, such as description, in place of a key")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			values := map[string]string{args[1]: ""}
			change := pool.NetworkChange{Config: values}
			if property {
				var err error
				if change, err = networkProperties(values); err != nil {
					return err
				}
			}
			return s.SetNetwork(ctx, args[0], change)
		}),
	}
}
