package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/args"
)

// defaultRoot is the state directory unless --root or $POOLCTL_DIR says otherwise.
const defaultRoot = "/var/lib/poolctl"

// completionFlag ends a command line that asks for the words that can follow.
const completionFlag = "--generate-bash-completion"

// rules are what the tree of commands does not say itself.
func rules() args.Rules {
	return args.Rules{
		Raw:       []string{"exec"},
		Default:   map[string]string{"snapshot": "create", "pool volume snapshot": "create", "pool scrub": "start"},
		Forwarded: []string{"format"},
	}
}

// newApp makes the tree of these commands.
func newApp(e *env, commands []*cli.Command) *cli.App {
	app := &cli.App{
		Name: "poolctl", HelpName: "poolctl", Version: e.version, HideVersion: true,
		Usage: "system containers in pools that are one file each, without a daemon",
		Description: "Begin with: poolctl admin init; poolctl launch images:alpine/3.20 c1; poolctl exec c1 -- sh\n" +
			"Exit code: 0 done, 1 failed, 2 not understood; exec passes on that of its command.",
		Flags:                     globalFlags(e),
		Commands:                  commands,
		Action:                    e.noCommand,
		Writer:                    e.stdout,
		ErrWriter:                 e.stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // only main exits
		EnableBashCompletion:      true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		OnUsageError:              onUsageError("poolctl"),
	}
	finish("poolctl", app.Commands)
	return app
}

// finish gives every command what all of them share.
func finish(parent string, commands []*cli.Command) {
	for _, c := range commands {
		name := parent + " " + c.Name
		for _, f := range c.Flags {
			if b, ok := f.(*cli.BoolFlag); ok {
				b.DisableDefaultText = true // "(default: false)" says nothing
			}
		}
		c.HideHelpCommand = true
		c.OnUsageError = onUsageError(name)
		finish(name, c.Subcommands)
	}
}

// badNumber is how package flag tells of a value that is no number, or too large.
var badNumber = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^invalid value ((?s:".*")) for flag -([\w-]+): (?:parse error|value out of range)$`)
})

// onUsageError turns what the cli package says of a flag's value into a usage
// error.
func onUsageError(command string) cli.OnUsageErrorFunc {
	return func(_ *cli.Context, err error, _ bool) error {
		message := err.Error()
		if m := badNumber().FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("invalid value %s for --%s: not a number, or one out of range", m[1], m[2])
		}
		return &args.UsageError{Command: command, Message: message}
	}
}

func globalFlags(e *env) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "root", Usage: "keep all state, live state included, below `DIR`", EnvVars: []string{"POOLCTL_DIR"},
			Value: defaultRoot, Destination: &e.root, TakesFile: true,
		},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress and no notices", Destination: &e.quiet, DisableDefaultText: true},
		&cli.BoolFlag{Name: "debug", Usage: "show how long the steps take, and what an error is made of", Destination: &e.debug, DisableDefaultText: true},
		&cli.StringFlag{Name: "format", Usage: "`FORMAT` of a command that lists or shows (csv|json|table|yaml|compact)"},
		&cli.BoolFlag{Name: "version", Usage: "show the version", Destination: &e.showVersion, DisableDefaultText: true},
	}
}

// noCommand runs when no command is named.
func (e *env) noCommand(c *cli.Context) error {
	if e.showVersion {
		return e.printf("poolctl %s\n", e.version)
	}
	return cli.ShowAppHelp(c)
}

// wholeApp is the tree of all commands, as the cli package completes it.
func wholeApp(e *env) *cli.App {
	app := newApp(e, allCommands(e))
	app.Setup()
	return app
}

// main reads the command line and runs the command.
func (e *env) main(ctx context.Context, argv []string) error {
	if len(argv) > 0 && argv[len(argv)-1] == completionFlag {
		return wholeApp(e).RunContext(ctx, argv)
	}
	app, line, err := e.read(argv)
	if err != nil {
		return err
	}
	return app.RunContext(ctx, line)
}

// read gives a command line its canonical form, and the tree that it needs.
func (e *env) read(argv []string) (*cli.App, []string, error) {
	app := newApp(e, namedCommands(e, argv))
	line, err := args.Canonical(app, rules(), argv)
	if err != nil || needsAll(line) { // also to say what was meant
		app = newApp(e, allCommands(e))
		line, err = args.Canonical(app, rules(), argv)
	}
	return app, line, err
}

// needsAll says whether a canonical command line is about all commands: the help
// of the program itself.
func needsAll(line []string) bool {
	for _, word := range line[min(1, len(line)):] {
		if word == "--version" || !strings.HasPrefix(word, "-") {
			return false
		}
	}
	return true
}

// group is a command that only has subcommands.
func group(name string, aliases []string, category, usage string, sub ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Aliases: aliases, Category: category, Usage: usage, Subcommands: sub}
}

// example is the description of a command: some text and what to type.
func example(text string, lines ...string) string {
	if text != "" {
		text += "\n\n"
	}
	if len(lines) == 1 {
		return text + "Example: " + lines[0]
	}
	text += "Examples:"
	for _, l := range lines {
		text += fmt.Sprintf("\n   %s", l)
	}
	return text
}
