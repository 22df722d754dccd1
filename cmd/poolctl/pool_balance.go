package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// balanceFlags are the flags of pool balance.
type balanceFlags struct {
	data, metadata                                   int
	full, status, pause, resume, cancelF, background bool
	format                                           string
}

func poolBalanceCommand(e *env) *cli.Command {
	var f balanceFlags
	return &cli.Command{
		Name: "balance", Usage: "pack sparsely used block groups of a pool together", ArgsUsage: "NAME",
		Description: example("Runs until it is done, or with --background in a process of its own; Ctrl-C ends it, and what is done stays. Another command can look at it, pause or cancel it. "+
			"One that a power cut interrupted stays paused until it is resumed or cancelled.", "poolctl pool balance default --data-usage 30", "poolctl pool balance default --background"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "data-usage", Usage: "rewrite data block groups of which less than `PERCENT` is used; 0 is the empty ones, -1 none", Value: pool.DefaultDataUsage, Destination: &f.data},
			&cli.IntFlag{Name: "metadata-usage", Usage: "the same for metadata, with `PERCENT`", Value: pool.DefaultMetadataUsage, Destination: &f.metadata},
			&cli.BoolFlag{Name: "full", Usage: "rewrite everything: takes long", Destination: &f.full},
			&cli.BoolFlag{Name: "status", Usage: "show the balance that runs or is paused", Destination: &f.status},
			&cli.BoolFlag{Name: "pause", Usage: "pause the one that runs", Destination: &f.pause},
			&cli.BoolFlag{Name: "resume", Usage: "go on with the one that is paused", Destination: &f.resume},
			&cli.BoolFlag{Name: "cancel", Usage: "end the one that runs or is paused", Destination: &f.cancelF},
			&cli.BoolFlag{Name: "background", Usage: "return once it runs; --status shows it, --cancel ends it", Destination: &f.background},
			formatFlag(&f.format, output.YAML),
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			return e.balance(ctx, s, args[0], f)
		}),
	}
}

func (e *env) balance(ctx context.Context, s *pool.System, name string, f balanceFlags) error {
	asked := 0
	for _, one := range []bool{f.full, f.status, f.pause, f.resume, f.cancelF} {
		if one {
			asked++
		}
	}
	switch {
	case asked > 1:
		return badUsage("pool balance", "only one of --full, --status, --pause, --resume and --cancel can be given")
	case f.background && (f.status || f.pause || f.cancelF):
		return badUsage("pool balance", "--background is for a balance that is started or resumed")
	case f.data < -1 || f.data > 100 || f.metadata < -1 || f.metadata > 100:
		return badUsage("pool balance", "a usage is -1 to 100")
	case f.status:
		b, err := s.BalanceOf(ctx, name)
		if err != nil {
			return err
		}
		return output.Value(e.stdout, f.format, b)
	case f.pause:
		return s.PauseBalance(ctx, name)
	case f.cancelF:
		return s.CancelBalance(ctx, name)
	}
	o := pool.BalanceOptions{DataUsage: f.data, MetadataUsage: f.metadata}
	if f.full {
		o = pool.BalanceOptions{DataUsage: 100, MetadataUsage: 100}
	}
	if f.background {
		return e.balanceInBackground(ctx, s, name, o, f.resume)
	}
	update, done := e.progress()
	run := func() (pool.BalanceStatus, error) { return s.BalancePool(ctx, name, o, update) }
	if f.resume {
		run = func() (pool.BalanceStatus, error) { return s.ResumeBalance(ctx, name, update) }
	}
	b, err := run()
	done(err == nil)
	if err != nil {
		return err
	}
	e.say("Storage pool %s balanced: %d of %d block groups rewritten", name, b.Completed, b.Considered)
	return nil
}

// balanceInBackground starts one that another process runs.
func (e *env) balanceInBackground(ctx context.Context, s *pool.System, name string, o pool.BalanceOptions, resume bool) error {
	running := func() (bool, error) {
		b, err := s.BalanceOf(ctx, name)
		return b.Status == "running", err
	}
	if at, err := running(); err != nil {
		return err
	} else if at {
		return fmt.Errorf("cannot balance pool %s: a balance is running", name)
	}
	args := []string{"pool", "balance", name, fmt.Sprintf("--data-usage=%d", o.DataUsage), fmt.Sprintf("--metadata-usage=%d", o.MetadataUsage)}
	if resume {
		args = append(args, "--resume")
	}
	err := e.inBackground(ctx, args, running)
	if err == nil {
		e.say("Storage pool %s is being balanced, or was in no time: poolctl pool balance %s --status", name, name)
	}
	return err
}
