package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// networkEditHelp is what the user finds above the text.
const networkEditHelp = `### This is a YAML representation of a network.
### Any line starting with a '#' will be ignored.
###
### A network consists of a set of configuration items and a description:
###
### config:
###   ipv4.address: 10.1.2.1/24
###   ipv4.nat: "true"
###   ipv6.address: none
### description: ""
###
### poolctl network create --help has the keys.

`

func networkEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change a network's configuration as YAML, in an editor or from the input", ArgsUsage: "NAME",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `network show` prints is taken too.", "poolctl network edit poolbr0", "poolctl network edit poolbr0 < network.yaml"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := s.NetworkConfig(ctx, args[0])
			if err != nil {
				return err
			}
			return e.edit(ctx, networkEditHelp, was, func(edited []byte) error {
				now, err := readNetworkConfig(edited)
				if err != nil {
					return fmt.Errorf("cannot change network %s: %w", args[0], err)
				}
				return s.ReplaceNetwork(ctx, args[0], was, now)
			})
		}),
	}
}

// readNetworkConfig reads the YAML of `network edit`. What else `network show` prints
// may be in it, and nothing more.
func readNetworkConfig(text []byte) (pool.NetworkConfig, error) {
	var file struct {
		pool.NetworkConfig `yaml:",inline"`
		Name               string   `yaml:"name"`
		Type               string   `yaml:"type"`
		UsedBy             []string `yaml:"used_by"`
		Managed            bool     `yaml:"managed"`
		Status             string   `yaml:"status"`
		Locations          []string `yaml:"locations"`
	}
	err := decodeEdited(text, &file, "config", "description", "name", "type", "used_by", "managed", "status", "locations")
	return file.NetworkConfig, err
}
