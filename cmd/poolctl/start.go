package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func startCommand(e *env) *cli.Command {
	var all, console bool
	return &cli.Command{
		Name: "start", Category: catInstances, Usage: "start instances, or resume paused ones", ArgsUsage: "NAME...",
		Description: example("", "poolctl start c1 c2", "poolctl start --console c1"),
		Flags:       []cli.Flag{allFlag(&all, "all that do not run"), consoleFlag(&console)},
		Action: e.namesOrAll(&all, func(ctx context.Context, s *pool.System) ([]string, error) { return s.StoppedInstances(ctx) },
			func(ctx context.Context, s *pool.System, names []string) error {
				if !console {
					return eachAtOnce(ctx, names, s.Start)
				}
				if len(names) != 1 {
					return badUsage("start", "--console is for one instance")
				}
				return e.startOnConsole(ctx, s, names[0], "start")
			}),
	}
}

func consoleFlag(console *bool) cli.Flag {
	return &cli.BoolFlag{Name: "console", Usage: "attach to its console at once", Destination: console}
}

// startOnConsole starts an instance and shows its console from the first line on.
func (e *env) startOnConsole(ctx context.Context, s *pool.System, name, command string) error {
	mark := s.ConsoleNow(name)
	if err := s.Start(ctx, name); err != nil {
		return err
	}
	return e.console(ctx, s, name, command, consoleOptions{escape: defaultEscape, since: mark})
}
