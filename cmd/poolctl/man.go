package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "man", Category: catSetup, Usage: "print the manual page", Description: example("", "poolctl man > /usr/local/share/man/man8/poolctl.8"),
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 0, 0); err != nil {
				return err
			}
			return e.printf("%s", manPage(wholeApp(e)))
		},
	}
}

// manPage describes all commands in roff with the macros of man(7). The cli
// package could do it by way of Markdown, whose tables every start of the program
// would pay for: the build leaves that out (tag urfave_cli_no_docs).
func manPage(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 8\n.SH NAME\n%s \\- %s\n", strings.ToUpper(app.Name), app.Name, roff(app.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n[GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS...]\n", app.Name)
	fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n.SH GLOBAL OPTIONS\n", roff(app.Description))
	manFlags(&b, app.VisibleFlags())
	b.WriteString(".SH COMMANDS\n")
	manCommands(&b, app.Name, app.Commands)
	return b.String()
}

func manCommands(b *strings.Builder, parent string, commands []*cli.Command) {
	for _, c := range commands {
		name := parent + " " + c.Name
		switch {
		case c.Hidden:
			continue
		case len(c.Subcommands) > 0:
			manCommands(b, name, c.Subcommands)
			continue
		}
		fmt.Fprintf(b, ".SS %s\n", roff(strings.TrimSpace(name+" "+c.ArgsUsage)))
		if c.Usage != "" {
			fmt.Fprintf(b, "%s%s.\n", roff(strings.ToUpper(c.Usage[:1])), roff(c.Usage[1:]))
		}
		if len(c.Aliases) > 0 {
			fmt.Fprintf(b, "Also: %s.\n", roff(strings.Join(c.Aliases, ", ")))
		}
		if c.Description != "" { // with lines of its own
			fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", roff(c.Description))
		}
		manFlags(b, c.Flags)
	}
}

// manFlags lists flags as --help does.
func manFlags(b *strings.Builder, flags []cli.Flag) {
	for _, f := range flags {
		names, usage, _ := strings.Cut(f.String(), "\t")
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(names), roff(strings.TrimSpace(usage)))
	}
}

// roff escapes text: nothing in it is a request, and a dash can be typed (man
// groff_char).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
