package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// copyFlags are the flags of copy.
type copyFlags struct {
	instanceOnly bool
	config       cli.StringSlice
	devices      cli.StringSlice
}

// options puts the flags and SOURCE[/SNAPSHOT] [NAME] together.
func (f *copyFlags) options(args []string) (pool.CopyOptions, error) {
	config, err := keyValues("copy", f.config.Value())
	if err != nil {
		return pool.CopyOptions{}, err
	}
	devices, err := deviceOverrides("copy", f.devices.Value())
	if err != nil {
		return pool.CopyOptions{}, err
	}
	source, snapshot, isSnapshot := strings.Cut(args[0], "/")
	if isSnapshot && snapshot == "" {
		return pool.CopyOptions{}, badUsage("copy", "%q names no snapshot", args[0])
	}
	if isSnapshot && f.instanceOnly {
		return pool.CopyOptions{}, badUsage("copy", "--instance-only is for an instance, %s is a snapshot", args[0])
	}
	return pool.CopyOptions{
		Source: source, Snapshot: snapshot, Name: optional(args, 1), InstanceOnly: f.instanceOnly, Config: config, DeviceOverrides: devices,
	}, nil
}

func copyCommand(e *env) *cli.Command {
	f := &copyFlags{}
	return &cli.Command{
		Name: "copy", Aliases: []string{"cp"}, Category: catInstances, Usage: "make a new instance of an instance or of a snapshot", ArgsUsage: "SOURCE[/SNAPSHOT] [NAME]",
		Description: example("The source may run. The copy has the source's snapshots, addresses of its own, and shares all data\n"+
			"that neither changes. Without NAME a random one is taken.", "poolctl copy c1 c2", "poolctl copy c1/before-upgrade c3"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "instance-only", Usage: "leave the snapshots out", Destination: &f.instanceOnly},
			&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "`KEY=VALUE` of the copy's configuration; may be repeated", Destination: &f.config},
			&cli.StringSliceFlag{Name: "device", Aliases: []string{"d"}, Usage: "`DEVICE,KEY=VALUE` of a device of the copy's, as root,size=10GiB; may be repeated", Destination: &f.devices},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			name, err := s.Copy(ctx, o)
			if err == nil && o.Name == "" {
				err = e.printf("Instance name is: %s\n", name)
			}
			return err
		}),
	}
}
