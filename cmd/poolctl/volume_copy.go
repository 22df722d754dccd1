package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// copyVolumeOptions reads POOL/VOLUME[/SNAPSHOT] POOL/VOLUME.
func copyVolumeOptions(command string, args []string) (o pool.CopyVolumeOptions, err error) {
	if o.Pool, o.Volume, o.Snapshot, err = pooledVolume(command, args[0]); err != nil {
		return o, err
	}
	toPool, name, snapshot, err := pooledVolume(command, args[1])
	if err == nil && snapshot != "" {
		err = badUsage(command, "%q names a snapshot: a volume is made", args[1])
	}
	o.ToPool, o.Name = toPool, name
	return o, err
}

func volumeCopyCommand(e *env) *cli.Command {
	var only, plan, refresh bool
	var format string
	return &cli.Command{
		Name: "copy", Aliases: []string{"cp"}, Usage: "copy a custom volume, or a snapshot of one", ArgsUsage: "POOL/VOLUME[/SNAPSHOT] POOL/VOLUME",
		Description: example("The source may be in use. In one pool the copy shares all data and is made at once; to another one everything is copied.\n\n"+
			"--refresh brings a copy up to date, in one step: between pools, only what it does not have is sent. "+
			"Snapshots that the source does not have are deleted; with --volume-only, or of a snapshot, those of the copy stay as they are.",
			"poolctl pool volume copy default/data default/data2", "poolctl pool volume copy default/data/snap0 fast/data", "poolctl pool volume copy default/data backup/data --refresh"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "volume-only", Usage: "leave the snapshots out", Destination: &only},
			&cli.BoolFlag{Name: "refresh", Usage: "bring a copy that is there up to date: its content and snapshots become the source's, its configuration stays", Destination: &refresh},
			planFlag(&plan), formatFlag(&format, output.YAML),
		},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := copyVolumeOptions("pool volume copy", args)
			if err != nil {
				return err
			}
			if only && o.Snapshot != "" {
				return badUsage("pool volume copy", "--volume-only is for a volume, %s is a snapshot", args[0])
			}
			o.VolumeOnly = only
			if plan && refresh {
				return badUsage("pool volume copy", "--plan is for a copy that is made new")
			}
			if plan {
				return e.printPlan(format, func() (pool.SpacePlan, error) { return s.PlanCopyVolume(ctx, o) })
			}
			update, done := e.progress()
			o.Progress = update
			if refresh {
				err = s.RefreshVolume(ctx, o)
			} else {
				err = s.CopyVolume(ctx, o)
			}
			done(err == nil)
			if err == nil {
				e.say("Storage volume copied successfully!")
			}
			return err
		}),
	}
}

func volumeMoveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "move", Usage: "move a custom volume to another pool or name", ArgsUsage: "POOL/VOLUME POOL/VOLUME",
		Description: example("The devices of instances and profiles follow. Refused while a running instance uses it.", "poolctl pool volume move default/data fast/data"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := copyVolumeOptions("pool volume move", args)
			if err == nil && o.Snapshot != "" {
				err = badUsage("pool volume move", "%s is a snapshot: it stays with its volume", args[0])
			}
			if err != nil {
				return err
			}
			update, done := e.progress()
			o.Progress = update
			err = s.MoveVolume(ctx, o)
			done(err == nil)
			if err == nil {
				e.say("Storage volume moved successfully!")
			}
			return err
		}),
	}
}
