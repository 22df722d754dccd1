package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func adminSnapshotsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "snapshots", Usage: "make the snapshots that schedules ask for, and delete those that are kept no longer",
		Description: example("In all pools that are attached. snapshots.schedule of an instance, its profiles or a custom volume is a cron expression, or\n"+
			"@hourly, @daily, @weekly, @monthly, @yearly or @never; of an instance also @startup, before each start; stopped instances are left out unless snapshots.schedule.stopped=true.\n"+
			"What was missed since this ran last, one snapshot makes up for. Of those made so, snapshots.retention (\"24 hourly, 7 daily,\n"+
			"4 weekly\") keeps the newest one of each of the last hours, days and weeks that have one, and the others are deleted; so is\n"+
			"every snapshot whose time is over (snapshots.expiry). Those that you make are never deleted by retention.\n"+
			"For a timer, which `poolctl admin systemd` has: there is no daemon that does it.",
			"poolctl config set c1 snapshots.schedule=@hourly snapshots.retention='24 hourly, 7 daily'", "poolctl admin snapshots"),
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			run, err := s.RunSnapshots(ctx)
			for _, ref := range run.Made {
				e.say("Snapshot %s created", ref)
			}
			for _, ref := range run.Gone {
				e.say("Snapshot %s deleted", ref)
			}
			return err
		}),
	}
}
