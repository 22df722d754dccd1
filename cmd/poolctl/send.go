package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/pool"
)

func sendCommand(e *env) *cli.Command {
	o := pool.SendOptions{}
	var force bool
	return &cli.Command{
		Name: "send", Category: catInstances, Usage: "write an instance or a snapshot as a stream, in full or what differs from a snapshot", ArgsUsage: "NAME[/SNAPSHOT] [FILE]",
		Description: example("poolctl receive makes of it what it was. Without FILE, or with \"-\", it goes to standard output. An instance is sent as it is now,\n"+
			"running or not, with its snapshots; it can be used meanwhile.\n\n"+
			"--parent names a snapshot that the receiver has: what differs from it is sent, and the snapshots since. For backups in a series,\n"+
			"send snapshots: each onto the one before.",
			"poolctl send c1/mon /backup/c1-mon", "poolctl send c1/tue --parent mon /backup/c1-tue", "poolctl send c1 | ssh host poolctl receive"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "parent", Usage: "`SNAPSHOT` that the receiver has", Destination: &o.Parent},
			&cli.BoolFlag{Name: "instance-only", Usage: "leave the snapshots out", Destination: &o.InstanceOnly},
			&cli.StringFlag{Name: "compression", Usage: "`HOW` to compress: zstd or none", Value: "zstd", Destination: &o.Compression},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "overwrite FILE", Destination: &force},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			name, snap, isSnap := strings.Cut(args[0], "/")
			if isSnap && snap == "" {
				return badUsage("send", "%q names no snapshot", args[0])
			}
			if isSnap && o.InstanceOnly {
				return badUsage("send", "--instance-only is for an instance, %s is a snapshot", args[0])
			}
			o.Instance, o.Snapshot = name, snap
			path := optional(args, 1)
			if path == "" {
				path = "-"
			}
			out, err := e.toStandardOutput("send", path)
			if err != nil {
				return err
			}
			update, done := e.progress()
			o.Progress = update
			if out {
				err = s.Send(ctx, o, e.stdout)
			} else {
				err = s.SendFile(ctx, o, path, force)
			}
			done(err == nil)
			return err
		}),
	}
}

func receiveCommand(e *env) *cli.Command {
	o := pool.ReceiveOptions{}
	return &cli.Command{
		Name: "receive", Category: catInstances, Usage: "make an instance, or bring one up to date, of what send wrote", ArgsUsage: "[FILE] [NAME]",
		Description: example("Without FILE, or with \"-\", standard input is read. What was sent in full becomes a new instance, called as it was unless NAME is\n"+
			"given. What was sent with --parent is for the stopped instance that has that snapshot: it gets the snapshots, and their state, if\n"+
			"it has not changed since; --force gives up what has.",
			"poolctl receive /backup/c1-mon", "poolctl receive /backup/c1-tue", "poolctl receive - c2 --storage fast < /backup/c1-mon"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "storage", Aliases: []string{"s", "target-pool"}, Usage: "`POOL` to put a new instance in", Destination: &o.Pool},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "give up what has changed in the instance since the snapshot", Destination: &o.Force},
		},
		Action: e.action(0, 2, func(ctx context.Context, s *pool.System, args []string) error {
			path := optional(args, 0)
			if path == "" {
				path = "-"
			}
			if path == "-" && term.IsTerminal(int(e.stdin.Fd())) {
				return badUsage("receive", "it reads what send wrote, and a terminal has none: name a FILE, or a pipe")
			}
			in, closeFile, err := e.openBackup(ctx, "receive", path)
			if err != nil {
				return err
			}
			defer closeFile()
			o.Name = optional(args, 1)
			update, done := e.progress()
			o.Progress = update
			got, err := s.Receive(ctx, o, in)
			done(err == nil)
			if err == nil {
				e.say("%s", received(got))
			}
			return err
		}),
	}
}

// received says what was received.
func received(got pool.Received) string {
	text := "Instance " + got.Name + " is up to date"
	if got.New {
		text = "Instance " + got.Name + " received"
	}
	switch len(got.Snapshots) {
	case 0:
		return text
	case 1:
		return text + ", with the snapshot " + got.Snapshots[0]
	}
	return text + ", with the snapshots " + strings.Join(got.Snapshots, ", ")
}
