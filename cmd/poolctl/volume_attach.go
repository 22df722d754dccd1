package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// attachment reads POOL VOLUME TARGET [DEVICE] [PATH]; as in LXD, DEVICE may be
// left out before a path.
func attachment(command string, args []string) (o pool.AttachVolumeOptions, err error) {
	o = pool.AttachVolumeOptions{Pool: args[0], Volume: args[1], Target: args[2], Device: optional(args, 3), Path: optional(args, 4)}
	if len(args) == 4 && strings.HasPrefix(args[3], "/") {
		o.Device, o.Path = "", args[3]
	}
	if o.Path == "" {
		return o, badUsage(command, "no path is given: where the volume is to be in the instance")
	}
	return o, nil
}

const attachUsage = "The device is called as the volume unless DEVICE is given. PATH is made inside if it is missing."

func volumeAttachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "attach a custom volume to an instance, running or not", ArgsUsage: "POOL VOLUME INSTANCE [DEVICE] PATH",
		Description: example(attachUsage, "poolctl pool volume attach default data c1 /srv/data", "poolctl pool volume attach default data c1 disk1 /srv/data"),
		Action: e.action(3, 5, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := attachment("pool volume attach", args)
			if err != nil {
				return err
			}
			return s.AttachVolume(ctx, o)
		}),
	}
}

func volumeAttachProfileCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "attach-profile", Usage: "attach a custom volume to all instances of a profile", ArgsUsage: "POOL VOLUME PROFILE [DEVICE] PATH",
		Description: example(attachUsage+"\nIn instances that run it is there at once.", "poolctl pool volume attach-profile default data default /srv/data"),
		Action: e.action(3, 5, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := attachment("pool volume attach-profile", args)
			if err != nil {
				return err
			}
			return s.AttachVolumeProfile(ctx, o)
		}),
	}
}

func volumeDetachCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "detach", Usage: "detach a custom volume from an instance, running or not", ArgsUsage: "POOL VOLUME INSTANCE [DEVICE]",
		Description: example("DEVICE is needed when several devices are the volume.", "poolctl pool volume detach default data c1"),
		Action: e.action(3, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.DetachVolume(ctx, pool.AttachVolumeOptions{Pool: args[0], Volume: args[1], Target: args[2], Device: optional(args, 3)})
		}),
	}
}

func volumeDetachProfileCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "detach-profile", Usage: "detach a custom volume from a profile", ArgsUsage: "POOL VOLUME PROFILE [DEVICE]",
		Description: example("From instances that run it is unmounted, which is refused while something inside uses it.", "poolctl pool volume detach-profile default data default"),
		Action: e.action(3, 4, func(ctx context.Context, s *pool.System, args []string) error {
			return s.DetachVolumeProfile(ctx, pool.AttachVolumeOptions{Pool: args[0], Volume: args[1], Target: args[2], Device: optional(args, 3)})
		}),
	}
}
