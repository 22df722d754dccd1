package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func volumeExportCommand(e *env) *cli.Command {
	o := pool.ExportVolumeOptions{}
	var force bool
	return &cli.Command{
		Name: "export", Usage: "write a custom volume with its snapshots into a backup file", ArgsUsage: "POOL VOLUME [FILE]",
		Description: example("LXD and Incus read it. FILE is VOLUME.backup when it is not given, and standard output when it is \"-\". Subvolumes in\n"+
			"the volume become directories, unless --optimized-storage is given. The volume may be in use.",
			"poolctl pool volume export default data data.tar.zst", "poolctl pool volume export default data - --volume-only | ssh host poolctl pool volume import default -"),
		Flags: backupFlags(&o.BackupOptions, "volume-only", &force),
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			o.Pool, o.Volume = args[0], args[1]
			volume, _ := volumeSnapshotRef(args[1])
			path := optional(args, 2)
			if path == "" {
				path = volume + ".backup"
			}
			out, err := e.toStandardOutput("pool volume export", path)
			if err != nil {
				return err
			}
			update, done := e.progress()
			o.Progress = update
			if out {
				err = s.ExportVolume(ctx, o, e.stdout)
			} else {
				err = s.ExportVolumeFile(ctx, o, path, force)
			}
			done(err == nil)
			if err == nil && !out {
				e.say("Backup exported successfully to %s", path)
			}
			return err
		}),
	}
}

func volumeImportCommand(e *env) *cli.Command {
	var plan bool
	var format string
	return &cli.Command{
		Name: "import", Usage: "make a custom volume of a backup file", ArgsUsage: "POOL FILE [VOLUME]",
		Description: example("FILE is one of export, or of LXD's or Incus's; \"-\" is standard input. The volume is called as it was unless VOLUME is given.",
			"poolctl pool volume import default data.tar.zst", "poolctl pool volume import default backup.tar.gz data2"),
		Flags: []cli.Flag{planFlag(&plan), formatFlag(&format, output.YAML)},
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			in, closeBackup, err := e.openBackup(ctx, "import", args[1])
			if err != nil {
				return err
			}
			defer closeBackup()
			if plan {
				return e.printPlan(format, func() (pool.SpacePlan, error) { return s.PlanImportVolume(ctx, args[0], in) })
			}
			update, done := e.progress()
			name, err := s.ImportVolume(ctx, pool.ImportVolumeOptions{Pool: args[0], Name: optional(args, 2), Progress: update}, in)
			done(err == nil)
			if err == nil {
				e.say("Storage volume %s imported", name)
			}
			return err
		}),
	}
}
