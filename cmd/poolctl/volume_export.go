package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

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
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "volume-only", Usage: "leave the snapshots out", Destination: &o.NoSnapshots},
			&cli.BoolFlag{Name: "optimized-storage", Usage: "write btrfs send streams, which only a btrfs pool can import, and LXD 5.0 only with --compression none", Destination: &o.Optimized},
			&cli.StringFlag{Name: "compression", Usage: "`HOW` to compress: bzip2, gzip, lz4, lzma, xz, zstd or none, with a level behind it: \"xz -9\"", Value: "zstd", Destination: &o.Compression},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "overwrite FILE", Destination: &force},
		},
		Action: e.action(2, 3, func(ctx context.Context, s *pool.System, args []string) error {
			o.Pool, o.Volume = args[0], args[1]
			volume, _ := volumeSnapshotRef(args[1])
			path := optional(args, 2)
			if path == "" {
				path = volume + ".backup"
			}
			update, done := e.progress()
			o.Progress = update
			var err error
			if path == "-" {
				if term.IsTerminal(int(e.stdout.Fd())) {
					return badUsage("pool volume export", "a backup is not for a terminal")
				}
				err = s.ExportVolume(ctx, o, e.stdout)
			} else {
				err = s.ExportVolumeFile(ctx, o, path, force)
			}
			done(err == nil)
			if err == nil && path != "-" {
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
			in := e.stdin
			if args[1] != "-" {
				f, err := openBackup(args[1])
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				in = f
			}
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

// openBackup opens a file that is to be imported. A directory is none; what a
// pipe holds is read.
func openBackup(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && info.IsDir() {
			err = errors.New("it is a directory")
		}
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok { // which would name the path again
		err = pathErr.Err
	}
	if err != nil && path == "" {
		return nil, fmt.Errorf("cannot import %q: %w", path, err)
	} else if err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", path, err)
	}
	return f, nil
}
