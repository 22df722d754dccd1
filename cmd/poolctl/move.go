package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func moveCommand(e *env) *cli.Command {
	var target string
	var only, noProfiles bool
	var config, devices, profiles cli.StringSlice
	return &cli.Command{
		Name: "move", Aliases: []string{"mv"}, Category: catInstances, Usage: "rename a stopped instance, or move it to another pool", ArgsUsage: "NAME[/SNAPSHOT] [NEW[/SNAPSHOT]]",
		Description: example("It goes with its snapshots, addresses and logs, and stays what it is. To another pool everything is sent, and deleted here once all of it is there.\n"+
			"A snapshot gets another name. What --config, --device and --profile give it, it keeps.", "poolctl move c1 web1", "poolctl move c1 --storage fast", "poolctl move c1/snap0 c1/before-upgrade"),
		Flags: []cli.Flag{
			targetPoolFlag(&target),
			&cli.BoolFlag{Name: "instance-only", Usage: "leave the snapshots out of a move to another pool: they go into the trash, with what it was", Destination: &only},
			&cli.StringSliceFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`PROFILE` instead of those that it has; may be repeated", Destination: &profiles},
			&cli.BoolFlag{Name: "no-profiles", Usage: "take its profiles from it", Destination: &noProfiles},
			&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "`KEY=VALUE` of its configuration; may be repeated", Destination: &config},
			&cli.StringSliceFlag{Name: "device", Aliases: []string{"d"}, Usage: "`DEVICE,KEY=VALUE` of a device, as root,size=10GiB; may be repeated", Destination: &devices},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			from, to := args[0], optional(args, 1)
			o := pool.MoveOptions{Source: from, Name: to, Pool: target, InstanceOnly: only, Profiles: profiles.Value()}
			var err error
			if o.Config, err = keyValues("move", config.Value()); err != nil {
				return err
			}
			if o.DeviceOverrides, err = deviceOverrides("move", devices.Value()); err != nil {
				return err
			}
			changed := only || noProfiles || len(o.Profiles) > 0 || len(o.Config) > 0 || len(o.DeviceOverrides) > 0
			switch {
			case noProfiles && len(o.Profiles) > 0:
				return badUsage("move", "--no-profiles and --profile exclude each other")
			case changed && strings.Contains(from, "/"):
				return badUsage("move", "%q is a snapshot: it gets another name, and stays what it is", from)
			case to == "" && target == "":
				return badUsage("move", "it needs a new name, or --storage POOL")
			case isOnOtherServer(to):
				return badUsage("move", "%q is on another server: instances are moved between pools, with --storage; poolctl send NAME | ssh HOST poolctl receive copies one there", to)
			case strings.Contains(from, "/"):
				return moveSnapshot(ctx, s, from, to, target)
			case strings.Contains(to, "/"):
				return badUsage("move", "%q is a snapshot, %q is an instance", to, from)
			}
			if noProfiles {
				o.Profiles = []string{}
			}
			update, done := e.progress()
			o.Progress = update
			err = s.MoveInstance(ctx, o)
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
