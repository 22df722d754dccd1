package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// errStateful refuses what incus does with CRIU.
var errStateful = errors.New("the state of running processes is not kept: there is no checkpointing here; a snapshot has what is on the disk, without --stateful")

// statefulFlag is incus's --stateful, which is refused with the reason.
func statefulFlag(stateful *bool) cli.Flag {
	return &cli.BoolFlag{Name: "stateful", Usage: "refused: the state of processes is not kept", Destination: stateful}
}

func snapshotCreateCommand(e *env) *cli.Command {
	var o pool.SnapshotOptions
	var stateful bool
	return &cli.Command{
		Name: "create", Aliases: []string{"add"}, Usage: "create a snapshot of an instance, running or not", ArgsUsage: "NAME [SNAPSHOT]",
		Description: example("Without SNAPSHOT it is called as the instance's snapshots.pattern says (such as \"before-%d\" or\n"+
			"\"{{ creation_date|date:'2006-01-02_15-04-05' }}\"), which is snap0, snap1 and so on unless it is set. snapshots.schedule and\n"+
			"snapshots.retention have them made and deleted by the timer of admin systemd (see admin snapshots).",
			"poolctl snapshot create c1 before-upgrade", "poolctl snapshot create c1 weekly --expiry 2w --reuse"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "expiry", Usage: "`WHEN` it may be deleted: a span (\"3d 2H\") or a date", Destination: &o.Expiry},
			&cli.BoolFlag{Name: "no-expiry", Usage: "keep it for ever, whatever snapshots.expiry of the instance says", Destination: &o.NoExpiry},
			statefulFlag(&stateful),
			&cli.BoolFlag{Name: "reuse", Usage: "replace the snapshot of that name", Destination: &o.Reuse},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if stateful {
				return errStateful
			}
			if o.NoExpiry && o.Expiry != "" {
				return badUsage("snapshot create", "--expiry and --no-expiry exclude each other")
			}
			o.Instance, o.Name = args[0], optional(args, 1)
			name, err := s.CreateSnapshot(ctx, o)
			if err == nil && len(args) == 1 {
				e.say("Snapshot name is: %s", name)
			}
			return err
		}),
	}
}
