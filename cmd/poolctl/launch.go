package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func launchCommand(e *env) *cli.Command {
	o, console := &createOptions{}, false
	return &cli.Command{
		Name: "launch", Category: catInstances, Usage: "create an instance from an image and start it", ArgsUsage: "{[REMOTE:]IMAGE | --template TEMPLATE} [NAME]",
		Description: example(inputHelp, "poolctl launch images:alpine/3.20 c1", "poolctl launch --template busybox bb", "poolctl launch --ephemeral images:alpine/3.20"),
		Flags:       append(o.flags(), consoleFlag(&console)),
		Action: o.action(e, func(ctx context.Context, s *pool.System, args []string) error {
			opts, err := o.options("launch", e.stdin, args)
			if err != nil {
				return err
			}
			e.say("Launching %s", nameOr(opts.Name, "the instance"))
			name, err := e.create(ctx, s, opts)
			if err != nil {
				return err
			}
			if console {
				return e.startOnConsole(ctx, s, name, "launch")
			}
			return s.Start(ctx, name)
		}),
	}
}
