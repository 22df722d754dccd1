package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func mountCommand(e *env) *cli.Command {
	var o pool.MountOptions
	return &cli.Command{
		Name: "mount", Category: catSnapshots, Usage: "look into an instance, a snapshot or an image at a directory", ArgsUsage: "NAME[/SNAPSHOT]|[local:]IMAGE [DIR]",
		Description: example(`Read-only unless --rw. Without DIR a directory is made and its path printed. Of the image of
a virtual machine the root partition of its disk is shown (ext4, btrfs or xfs); no journal is
replayed, so that not one byte of it changes. Owners are those seen inside; on the disk they are
others only where LXD has shifted them. An instance that is mounted writable does not start. The
mount ends with the machine; doctor lists what is mounted. What is named like an instance is one: write
local:IMAGE for an image of the same name.`, "poolctl mount c1/before-upgrade /mnt", "poolctl mount local:debian-vm"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "rw", Usage: "let it be written to; the instance must not run; not for snapshots and images", Destination: &o.Writable},
			&cli.BoolFlag{Name: "host-ids", Usage: "show owners as they are on the disk; else as inside", Destination: &o.HostIDs},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			where, err := s.Mount(ctx, args[0], optional(args, 1), o)
			if err != nil {
				return err
			}
			return e.printMount(where, args)
		}),
	}
}
