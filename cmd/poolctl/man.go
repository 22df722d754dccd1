package main

import "github.com/urfave/cli/v2"

func manCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "man", Category: catSetup, Usage: "print the manual page", Description: example("", "poolctl man > /usr/local/share/man/man8/poolctl.8"),
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 0, 0); err != nil {
				return err
			}
			page, err := c.App.ToManWithSection(8)
			if err != nil {
				return err
			}
			return e.printf("%s", page)
		},
	}
}
