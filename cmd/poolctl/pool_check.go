package main

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolCheckCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "check", Usage: "look for damage in a pool, and change nothing", ArgsUsage: "NAME",
		Description: example("A detached pool stays detached and is checked by btrfs check; of an attached one the metadata and the layout are. "+
			"The exit code is 1 when something is wrong. `pool scrub` reads the data as well.", "poolctl pool check default"),
		Flags: []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			update, done := e.progress()
			c, err := s.CheckPool(ctx, args[0], update)
			done(err == nil || errors.Is(err, pool.ErrDamaged))
			if err != nil && !errors.Is(err, pool.ErrDamaged) {
				return err
			}
			if werr := e.printCheck(c, format); werr != nil {
				return werr
			}
			return err
		}),
	}
}

// printCheck prints the problems as a list, and in other formats everything.
func (e *env) printCheck(c pool.Check, format string) error {
	if base := output.Base(format); base == output.JSON || base == output.YAML {
		return output.Value(e.stdout, format, c)
	}
	e.say("Storage pool %s checked: %s", c.Pool, strings.Join(c.Done, ", "))
	for _, s := range c.Skipped {
		e.say("not checked: %s", s)
	}
	if len(c.Problems) == 0 {
		return nil
	}
	l := output.List{Header: []string{"OBJECT", "PROBLEM"}, Values: c.Problems}
	for _, p := range c.Problems {
		l.Rows = append(l.Rows, []string{p.Object, p.Problem})
	}
	return l.Write(e.stdout, format)
}
