package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/pool"
)

func consoleCommand(e *env) *cli.Command {
	var showLog, force bool
	escape := defaultEscape
	return &cli.Command{
		Name: "console", Category: catInstances, Usage: "attach to an instance's console", ArgsUsage: "NAME",
		Description: example("Ctrl-a q leaves it, Ctrl-a Ctrl-a sends one Ctrl-a. A login prompt shows again after Enter.\n"+
			"When the input is no terminal, its end leaves, once the instance has nothing more to say.",
			"poolctl console c1", "poolctl console --show-log c1"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "show-log", Usage: "show what the instance, running or not, has written to it", Destination: &showLog},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "take it from who is attached already", Destination: &force},
			escapeFlag(&escape),
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if showLog {
				return s.ConsoleLog(ctx, args[0], e.stdout)
			}
			return e.console(ctx, s, args[0], "console", consoleOptions{escape: escape, force: force})
		}),
	}
}

// defaultEscape is what the key to leave is pressed after, as in lxc-console.
const defaultEscape = "a"

func escapeFlag(escape *string) cli.Flag {
	return &cli.StringFlag{Name: "escape", Aliases: []string{"e"}, Usage: "`KEY` that, with Ctrl, comes before the q that leaves, or none", Value: defaultEscape, Destination: escape}
}

type consoleOptions struct {
	escape string
	force  bool
	since  *pool.ConsoleMark
}

// console attaches to an instance's console.
func (e *env) console(ctx context.Context, s *pool.System, name, command string, o consoleOptions) error {
	escape, err := escapeKey(command, o.escape)
	if err != nil {
		return err
	}
	if escape != 0 && term.IsTerminal(int(e.stdin.Fd())) {
		e.say("To leave the console press Ctrl-%c q", 'a'+escape-1)
	}
	return s.Console(ctx, name, pool.ConsoleOptions{Stdin: e.stdin, Stdout: e.stdout, Escape: escape, Force: o.force}, o.since)
}

// escapeKey reads a, ^a or none.
func escapeKey(command, word string) (byte, error) {
	if word == "none" {
		return 0, nil
	}
	key := strings.ToLower(strings.TrimPrefix(word, "^"))
	if len(key) != 1 || key[0] < 'a' || key[0] > 'z' {
		return 0, badUsage(command, "--escape %q is neither a letter nor none", word)
	}
	return key[0] - 'a' + 1, nil
}
