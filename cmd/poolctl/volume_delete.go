package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func volumeDeleteCommand(e *env) *cli.Command {
	var now bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete a custom volume with its snapshots, or one snapshot", ArgsUsage: "POOL VOLUME[/SNAPSHOT]",
		Description: example("Refused while an instance or a profile has a device on it. It goes into the trash: `poolctl undelete VOLUME` brings it back.",
			"poolctl pool volume delete default data"),
		Flags: []cli.Flag{nowFlag(&now)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			volume, snapshot := volumeSnapshotRef(args[1])
			var err error
			switch {
			case snapshot != "":
				err = deleteVolumeSnapshot(ctx, s, args[0], volume, snapshot, now)
			case now:
				err = s.DeleteVolume(ctx, args[0], volume)
			default:
				err = s.TrashVolume(ctx, args[0], volume)
			}
			if err == nil {
				e.say("Storage volume %s deleted", args[1])
			}
			return err
		}),
	}
}

func volumeRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "rename a custom volume", ArgsUsage: "POOL OLD NEW",
		Description: example("The devices of instances and profiles follow. Refused while a running instance uses it.", "poolctl pool volume rename default data archive"),
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.RenameVolume(ctx, args[0], args[1], args[2]); err != nil {
				return err
			}
			e.say("Renamed storage volume from %q to %q", args[1], args[2])
			return nil
		}),
	}
}
