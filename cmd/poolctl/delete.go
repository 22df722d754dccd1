package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/ask"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

func deleteCommand(e *env) *cli.Command {
	var force, now, interactive bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Category: catInstances, Usage: "delete instances with their snapshots, or single snapshots", ArgsUsage: "NAME[/SNAPSHOT]...",
		Description: example("They go into the trash of their pool: see `poolctl undelete`. Ephemeral instances are gone, as they are when they stop.",
			"poolctl delete c1", "poolctl delete --force c1 c2", "poolctl delete --now c1/snap0"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "delete a running one too", Destination: &force},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "ask before each", Destination: &interactive},
			nowFlag(&now),
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			if interactive {
				if err := e.confirmDelete(args); err != nil {
					return err
				}
			}
			return eachAtOnce(ctx, args, func(ctx context.Context, name string) error {
				if instance, snapshot, is := strings.Cut(name, "/"); is {
					return deleteSnapshot(ctx, s, instance, snapshot, now)
				}
				if now {
					return s.Delete(ctx, name, force)
				}
				return s.TrashInstance(ctx, name, force)
			})
		}),
	}
}

// confirmDelete asks about each, as incus does: nothing is deleted where one is to stay.
func (e *env) confirmDelete(names []string) error {
	a := ask.New(e.stdin, e.stderr)
	for _, name := range names {
		yes, err := a.Bool("Remove "+table.Clean(name), false)
		if err == nil && !yes {
			err = errors.New("it was not confirmed, and nothing is deleted")
		}
		if err != nil {
			return fmt.Errorf("cannot delete %s: %w", name, err)
		}
	}
	return nil
}

// nowFlag is --now of the commands that delete something.
func nowFlag(now *bool) cli.Flag {
	return &cli.BoolFlag{Name: "now", Usage: "delete it for good, not into the trash", Destination: now}
}
