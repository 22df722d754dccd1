package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func moveCommand(e *env) *cli.Command {
	var target string
	return &cli.Command{
		Name: "move", Aliases: []string{"mv"}, Category: catInstances, Usage: "rename a stopped instance, or move it to another pool", ArgsUsage: "NAME[/SNAPSHOT] [NEW[/SNAPSHOT]]",
		Description: example("It goes with its snapshots, addresses and logs, and stays what it is. To another pool everything is sent, and deleted here once all of it is there.\n"+
			"A snapshot gets another name.", "poolctl move c1 web1", "poolctl move c1 --storage fast", "poolctl move c1/snap0 c1/before-upgrade"),
		Flags: []cli.Flag{targetPoolFlag(&target)},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			from, to := args[0], optional(args, 1)
			switch {
			case to == "" && target == "":
				return badUsage("move", "it needs a new name, or --storage POOL")
			case strings.Contains(to, ":"):
				return badUsage("move", "%q is on another server: instances are moved between pools, with --storage", to)
			case strings.Contains(from, "/"):
				return moveSnapshot(ctx, s, from, to, target)
			case strings.Contains(to, "/"):
				return badUsage("move", "%q is a snapshot, %q is an instance", to, from)
			}
			update, done := e.progress()
			err := s.MoveInstance(ctx, pool.MoveOptions{Source: from, Name: to, Pool: target, Progress: update})
			done(err == nil)
			return err
		}),
	}
}

// moveSnapshot is lxc's way to rename a snapshot.
func moveSnapshot(ctx context.Context, s *pool.System, from, to, target string) error {
	name, snap, _ := strings.Cut(from, "/")
	toName, toSnap, isSnap := strings.Cut(to, "/")
	switch {
	case target != "":
		return badUsage("move", "%q is a snapshot: it stays with its instance", from)
	case !isSnap || toName != name || snap == "" || toSnap == "":
		return badUsage("move", "a snapshot is renamed within its instance: %s %s/NEW", from, name)
	}
	return s.RenameSnapshot(ctx, name, snap, toSnap)
}
