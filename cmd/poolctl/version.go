package main

import "github.com/urfave/cli/v2"

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "version", Category: catSetup, Usage: "show the version", Description: example("", "poolctl version"),
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 0, 0); err != nil {
				return err
			}
			return e.printf("poolctl %s\n", e.version)
		},
	}
}
