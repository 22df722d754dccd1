package main

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/pool"
)

// backupFlags are the flags of the commands that write a backup.
func backupFlags(o *pool.BackupOptions, only string, force *bool) []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: only, Usage: "leave the snapshots out", Destination: &o.NoSnapshots},
		&cli.BoolFlag{Name: "optimized-storage", Usage: "write btrfs send streams, which only a btrfs pool can import, and LXD 5.0 only with --compression none", Destination: &o.Optimized},
		&cli.StringFlag{Name: "compression", Usage: "`HOW` to compress: bzip2, gzip, lz4, lzma, xz, zstd or none, with a level behind it: \"xz -9\"", Value: "zstd", Destination: &o.Compression},
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "overwrite FILE", Destination: force},
	}
}

// toStandardOutput says whether a backup is to be written there, which no terminal is for. From then on a pipe that is closed
// is an error, and what was made is undone: the signal of it would end the program (os/signal, SIGPIPE).
func (e *env) toStandardOutput(command, path string) (bool, error) {
	if path != "-" {
		return false, nil
	}
	if term.IsTerminal(int(e.stdout.Fd())) {
		return false, badUsage(command, "a backup is not for a terminal")
	}
	signal.Ignore(syscall.SIGPIPE)
	return true, nil
}

func exportCommand(e *env) *cli.Command {
	o := pool.ExportOptions{}
	var force bool
	return &cli.Command{
		Name: "export", Category: catInstances, Usage: "write an instance with its snapshots into a backup file", ArgsUsage: "INSTANCE [FILE]",
		Description: example("LXD and Incus read it. FILE is INSTANCE.tar.zst, as it is compressed, when it is not given, and standard output when it is\n"+
			"\"-\". A FIFO, and a device such as /dev/null, is written to and never replaced. Subvolumes in the instance become directories,\n"+
			"unless --optimized-storage is given. The instance may run: it is held for a moment, and can be used while the backup is written.",
			"poolctl export c1", "poolctl export c1 /backup/c1.tar.zst --force", "poolctl export c1 - --instance-only | ssh host poolctl import -"),
		Flags: backupFlags(&o.BackupOptions, "instance-only", &force),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o.Instance = args[0]
			path := optional(args, 1)
			if path == "" {
				extension, err := pool.BackupExtension(o.Compression)
				if err != nil {
					return err
				}
				path = o.Instance + extension
			}
			out, err := e.toStandardOutput("export", path)
			if err != nil {
				return err
			}
			update, done := e.progress()
			o.Progress = update
			if out {
				err = s.Export(ctx, o, e.stdout)
			} else {
				err = s.ExportFile(ctx, o, path, force)
			}
			done(err == nil)
			if err == nil && !out {
				e.say("Backup exported successfully to %s", path)
			}
			return err
		}),
	}
}
