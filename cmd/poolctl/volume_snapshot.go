package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func volumeSnapshotCreateCommand(e *env) *cli.Command {
	o := pool.VolumeSnapshotOptions{}
	return &cli.Command{
		Name: "create", Aliases: []string{"add"}, Usage: "create a snapshot of a custom volume, in use or not", ArgsUsage: "POOL VOLUME [SNAPSHOT]",
		Description: example("Without SNAPSHOT it is called as the volume's snapshots.pattern says: snap0, snap1 and so on.\n"+
			"Snapshots whose time is over are deleted by the commands on the volume's snapshots, and by admin expire.",
			"poolctl pool volume snapshot create default data", "poolctl pool volume snapshot create default data weekly --expiry 2w --reuse"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "expiry", Usage: "`WHEN` it may be deleted: a span (\"3d 2H\") or a date", Destination: &o.Expiry},
			&cli.BoolFlag{Name: "no-expiry", Usage: "keep it for ever, whatever snapshots.expiry of the volume says", Destination: &o.NoExpiry},
			&cli.BoolFlag{Name: "reuse", Usage: "replace the snapshot of that name", Destination: &o.Reuse},
			&cli.StringFlag{Name: "description", Usage: "`TEXT` about the snapshot", Destination: &o.Description},
		},
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			if o.NoExpiry && o.Expiry != "" {
				return badUsage("pool volume snapshot create", "--expiry and --no-expiry exclude each other")
			}
			o.Pool, o.Volume, o.Name = args[0], args[1], optional(args, 2)
			name, err := s.CreateVolumeSnapshot(ctx, o)
			if err == nil && o.Name == "" {
				e.say("Snapshot name is: %s", name)
			}
			return err
		}),
	}
}

func volumeSnapshotListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list a custom volume's snapshots, the oldest first", ArgsUsage: "POOL VOLUME",
		Description: example("", "poolctl pool volume snapshot list default data"),
		Flags:       []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			snaps, err := s.VolumeSnapshots(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return output.List{Header: volumeSnapshotHeader(), Rows: volumeSnapshotRows(snaps), Values: orEmpty(snaps)}.Write(e.stdout, format)
		}),
	}
}

func volumeSnapshotHeader() []string {
	return []string{"NAME", "DESCRIPTION", "TAKEN AT", "EXPIRES AT"}
}

func volumeSnapshotRows(snaps []pool.VolumeSnapshot) [][]string {
	var rows [][]string
	for _, sn := range snaps {
		expires := time.Time{}
		if sn.ExpiresAt != nil {
			expires = *sn.ExpiresAt
		}
		rows = append(rows, []string{sn.Name, sn.Description, localTime(sn.CreatedAt), localTime(expires)})
	}
	return rows
}

func volumeSnapshotShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a snapshot of a custom volume", ArgsUsage: "POOL VOLUME/SNAPSHOT",
		Description: example("", "poolctl pool volume snapshot show default data/snap0"),
		Flags:       []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			volume, snapshot := volumeSnapshotRef(args[1])
			if snapshot == "" {
				return badUsage("pool volume snapshot show", "%q is not of the form VOLUME/SNAPSHOT", args[1])
			}
			sn, err := s.VolumeSnapshot(ctx, args[0], volume, snapshot)
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, sn)
		}),
	}
}

func volumeSnapshotRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "rename a snapshot of a custom volume", ArgsUsage: "POOL VOLUME OLD NEW",
		Description: example("", "poolctl pool volume snapshot rename default data snap0 before-upgrade"),
		Action: e.action(4, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RenameVolumeSnapshot(ctx, args[0], args[1], args[2], args[3])
		}),
	}
}

func volumeSnapshotDeleteCommand(e *env) *cli.Command {
	var now bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete a snapshot of a custom volume", ArgsUsage: "POOL VOLUME SNAPSHOT",
		Description: example("It goes into the trash: `poolctl undelete VOLUME/SNAPSHOT` brings it back.", "poolctl pool volume snapshot delete default data snap0"),
		Flags:       []cli.Flag{nowFlag(&now)},
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return deleteVolumeSnapshot(ctx, s, args[0], args[1], args[2], now)
		}),
	}
}

func deleteVolumeSnapshot(ctx context.Context, s *pool.System, storage, volume, snapshot string, now bool) error {
	if now {
		return s.DeleteVolumeSnapshot(ctx, storage, volume, snapshot)
	}
	return s.TrashVolumeSnapshot(ctx, storage, volume, snapshot)
}

// volumeRestoreCommand is `pool volume snapshot restore` and, as in lxc, `pool
// volume restore`.
func volumeRestoreCommand(e *env, name string) *cli.Command {
	var keep bool
	return &cli.Command{
		Name: "restore", Usage: "bring a custom volume back to a snapshot", ArgsUsage: "POOL VOLUME SNAPSHOT",
		Description: example("Refused while a running instance uses the volume. Its configuration stays. What it holds now is kept until the snapshot has\n"+
			"taken its place, and with --keep as a snapshot.",
			"poolctl "+name+" default data snap0", "poolctl "+name+" default data snap0 --keep"),
		Flags: []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "leave the present state as a new snapshot", Destination: &keep}},
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RestoreVolume(ctx, pool.RestoreVolumeOptions{Pool: args[0], Volume: args[1], Snapshot: args[2], Keep: keep})
		}),
	}
}
