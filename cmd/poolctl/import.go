package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func importCommand(e *env) *cli.Command {
	var storage string
	var config, devices cli.StringSlice
	return &cli.Command{
		Name: "import", Category: catInstances, Usage: "make an instance of a backup file", ArgsUsage: "FILE [NAME]",
		Description: example("FILE is one of export, or of LXD's or Incus's; \"-\" is standard input. The instance is called as it was unless NAME is given,\n"+
			"has its snapshots, and keeps its UUID and hardware addresses unless another one here has them. What it had of a profile\n"+
			"that is not here becomes its own; devices of the host, and what opens the host to it, are set aside and told.",
			"poolctl import c1.tar.zst", "poolctl import backup.tar.gz c2 --storage fast --device root,size=20GiB"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "`POOL` to put it in", Destination: &storage},
			&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "`KEY=VALUE` of its configuration; may be repeated", Destination: &config},
			&cli.StringSliceFlag{Name: "device", Aliases: []string{"d"}, Usage: "`DEVICE,KEY=VALUE` of a device of its or its profiles', as root,size=10GiB; may be repeated", Destination: &devices},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o := pool.ImportOptions{Pool: storage, Name: optional(args, 1)}
			var err error
			if o.Config, err = keyValues("import", config.Value()); err != nil {
				return err
			}
			if o.DeviceOverrides, err = deviceOverrides("import", devices.Value()); err != nil {
				return err
			}
			in, closeBackup, err := e.openBackup(ctx, "import", args[0])
			if err != nil {
				return err
			}
			defer closeBackup()
			update, done := e.progress()
			o.Progress = update
			name, err := s.Import(ctx, o, in)
			done(err == nil)
			if err == nil {
				e.say("Instance %s imported", name)
			}
			return err
		}),
	}
}

// openBackup opens a file that is to be imported; "-" is standard input. A
// directory is none; what a pipe holds is read.
func (e *env) openBackup(ctx context.Context, verb, path string) (_ *os.File, closeBackup func(), err error) {
	if path == "-" {
		return e.stdin, func() {}, nil
	}
	f, err := pool.OpenWaiting(ctx, path, os.O_RDONLY)
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
		return nil, nil, fmt.Errorf("cannot %s %q: %w", verb, path, err)
	} else if err != nil {
		return nil, nil, fmt.Errorf("cannot %s %s: %w", verb, path, err)
	}
	return f, func() { _ = f.Close() }, nil // read only
}
