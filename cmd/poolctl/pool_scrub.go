package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolScrubCommand(e *env) *cli.Command {
	c := group("scrub", nil, "", "verify all checksums in a pool; `scrub NAME` starts it",
		poolScrubStartCommand(e), poolScrubStatusCommand(e), poolScrubCancelCommand(e))
	c.Category = ""
	return c
}

func poolScrubStartCommand(e *env) *cli.Command {
	var o pool.ScrubOptions
	var format string
	var background bool
	return &cli.Command{
		Name: "start", Usage: "read everything in a pool and verify it", ArgsUsage: "NAME",
		Description: example("Repairs what has a second copy, and lists the files that have lost something: then the exit code is 1. Ctrl-C cancels it.",
			"poolctl pool scrub start default"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "read-only", Usage: "repair nothing", Destination: &o.ReadOnly},
			&cli.BoolFlag{Name: "reset", Usage: "set the device's error counters to zero before", Destination: &o.Reset},
			&cli.BoolFlag{Name: "background", Usage: "return once it runs; `scrub status` shows it and its result, `scrub cancel` ends it", Destination: &background},
			formatFlag(&format, output.Table),
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if background {
				return e.scrubInBackground(ctx, s, args[0], o)
			}
			update, done := e.progress()
			run := o
			run.Progress = update
			r, err := s.ScrubPool(ctx, args[0], run)
			done(err == nil || errors.Is(err, pool.ErrDamaged))
			if err != nil && !errors.Is(err, pool.ErrDamaged) {
				return err
			}
			if werr := e.printScrub(r, format); werr != nil {
				return werr
			}
			return err
		}),
	}
}

// scrubInBackground starts a scrub that another process runs.
func (e *env) scrubInBackground(ctx context.Context, s *pool.System, name string, o pool.ScrubOptions) error {
	running := func() (bool, error) {
		r, err := s.ScrubOf(ctx, name)
		return r.Status == "running", err
	}
	if at, err := running(); err != nil {
		return err
	} else if at {
		return fmt.Errorf("cannot scrub pool %s: a scrub is running", name)
	}
	args := []string{"pool", "scrub", "start", name}
	if o.ReadOnly {
		args = append(args, "--read-only")
	}
	if o.Reset {
		args = append(args, "--reset")
	}
	err := e.inBackground(ctx, args, running)
	if err == nil {
		e.say("Storage pool %s is being scrubbed, or was in no time: poolctl pool scrub status %s", name, name)
	}
	return err
}

// printScrub prints the damaged files as a list, and in other formats everything.
func (e *env) printScrub(r pool.Scrub, format string) error {
	if base := output.Base(format); base == output.JSON || base == output.YAML {
		return output.Value(e.stdout, format, r)
	}
	e.say("Storage pool %s: %s, %s verified, %d errors, %d repaired, %d not", r.Pool, r.Status,
		output.IEC(int64(r.Result.DataBytes+r.Result.TreeBytes)), r.Result.Errors(), r.Result.CorrectedErrors, r.Result.UncorrectableErrors)
	if len(r.Damaged) == 0 {
		return nil
	}
	l := output.List{Header: []string{"OBJECT", "PATH", "OFFSET", "LENGTH"}, Values: r.Damaged}
	for _, d := range r.Damaged {
		l.Rows = append(l.Rows, []string{d.Object, d.Path, strconv.FormatUint(d.Offset, 10), strconv.FormatUint(d.Length, 10)})
	}
	return l.Write(e.stdout, format)
}

func poolScrubStatusCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "status", Usage: "show the scrub that runs, or the last one", ArgsUsage: "NAME",
		Description: example("", "poolctl pool scrub status default"),
		Flags:       []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			r, err := s.ScrubOf(ctx, args[0])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, r)
		}),
	}
}

func poolScrubCancelCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "end the scrub that another command runs", ArgsUsage: "NAME",
		Description: example("", "poolctl pool scrub cancel default"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			return s.CancelScrub(ctx, args[0])
		}),
	}
}
