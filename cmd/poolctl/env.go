package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/args"
	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/progress"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

// env is what every command works with: the process's files and the global flags.
type env struct {
	stdin, stdout, stderr *os.File
	version               string

	root        string
	quiet       bool
	debug       bool
	showVersion bool
}

// many is the largest number of arguments of a command that takes any number.
const many = 1 << 20

// action makes a command's action: it checks the number of arguments, opens the
// state directory, calls run and closes it.
func (e *env) action(least, most int, run func(ctx context.Context, s *pool.System, args []string) error) cli.ActionFunc {
	return e.actionWith(pool.Options{}, least, most, run)
}

// actionWith is action with options.
func (e *env) actionWith(o pool.Options, least, most int, run func(ctx context.Context, s *pool.System, args []string) error) cli.ActionFunc {
	return func(c *cli.Context) (err error) {
		if err := checkCount(c, least, most); err != nil {
			return err
		}
		o.Root, o.Version, o.Notice = e.stateDir(), e.version, e.notice
		began := time.Now()
		s, err := pool.Open(c.Context, o)
		if err != nil {
			return err
		}
		e.debugf("opened %s in %s", e.stateDir(), time.Since(began).Round(time.Microsecond))
		began = time.Now()
		defer func() {
			e.debugf("%s took %s", c.Command.FullName(), time.Since(began).Round(time.Microsecond))
			err = errors.Join(err, s.Close())
		}()
		return explained(run(c.Context, s, c.Args().Slice()), s.Explain)
	}
}

// explained adds to an error, or to each of several, what is known of its cause.
func explained(err error, explain func(error) error) error {
	var several severalError
	if !errors.As(err, &several) {
		return explain(err)
	}
	for i := range several {
		several[i] = explain(several[i])
	}
	return err
}

// stateDir is the state directory: the default one also when $POOLCTL_DIR is set
// but empty, which must not mean the working directory.
func (e *env) stateDir() string {
	if e.root == "" {
		return defaultRoot
	}
	return e.root
}

// checkCount checks the number of arguments.
func checkCount(c *cli.Context, least, most int) error {
	n := c.NArg()
	var problem string
	switch {
	case n < least:
		problem = "too few arguments"
	case n > most:
		problem = fmt.Sprintf("unexpected argument %q", c.Args().Get(most))
	default:
		return nil
	}
	return usagef(c, "%s, usage: %s %s", problem, c.Command.HelpName, c.Command.ArgsUsage)
}

// usagef is a usage error of the command that runs.
func usagef(c *cli.Context, format string, a ...any) error {
	return &args.UsageError{Command: c.Command.HelpName, Message: fmt.Sprintf(format, a...)}
}

// badUsage is a usage error of a command known by name.
func badUsage(command, format string, a ...any) error {
	return &args.UsageError{Command: "poolctl " + command, Message: fmt.Sprintf(format, a...)}
}

// formatFlag is --format, with the format that is used when it is not given.
func formatFlag(format *string, byDefault string) cli.Flag {
	return &cli.StringFlag{
		Name: "format", Aliases: []string{"f"}, Usage: "`FORMAT`: " + output.Formats + output.FormatsNote, Value: byDefault, Destination: format,
		Action: func(c *cli.Context, f string) error {
			if !output.Valid(f) {
				return usagef(c, "unknown format %q: not one of %s", f, output.Formats)
			}
			return nil
		},
	}
}

// printf writes data to standard output.
func (e *env) printf(format string, a ...any) error {
	_, err := fmt.Fprintf(e.stdout, format, a...)
	return err
}

// say tells the user what happens, on standard error, unless --quiet.
func (e *env) say(format string, a ...any) {
	if !e.quiet {
		_, _ = fmt.Fprintf(e.stderr, format+"\n", a...)
	}
}

// notice passes on a line of package pool.
func (e *env) notice(line string) { e.say("%s", table.Clean(line)) }

func (e *env) debugf(format string, a ...any) {
	if e.debug {
		_, _ = fmt.Fprintf(e.stderr, "debug: "+format+"\n", a...)
	}
}

// progress makes the reporter of one long operation; its end is done(err == nil).
func (e *env) progress() (update func(pool.Progress), done func(ok bool)) {
	style := progress.Lines
	if term.IsTerminal(int(e.stderr.Fd())) {
		style = progress.Bars
	}
	if e.quiet {
		style = progress.None
	}
	r := progress.New(e.stderr, style)
	return func(p pool.Progress) {
		if p.Kept > 0 {
			r.Resume(p.Name, p.Kept, p.Total)
		}
		r.Update(p.Name, p.Done, p.Total)
	}, r.Close
}
