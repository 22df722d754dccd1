package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// copyFlags are the flags of copy.
type copyFlags struct {
	instanceOnly, refresh, excludeOlder, stateless, ephemeral, noProfiles bool
	pool                                                                  string
	config, devices, profiles                                             cli.StringSlice
}

func (f *copyFlags) flags() []cli.Flag {
	return []cli.Flag{
		targetPoolFlag(&f.pool),
		&cli.BoolFlag{Name: "instance-only", Usage: "leave the snapshots out", Destination: &f.instanceOnly},
		&cli.BoolFlag{Name: "stateless", Usage: "leave the state of its processes out, as every copy does", Destination: &f.stateless},
		&cli.BoolFlag{Name: "refresh", Usage: "bring a copy that is there up to date: its content and snapshots become the source's; what it is known by stays", Destination: &f.refresh},
		&cli.BoolFlag{Name: "refresh-exclude-older", Usage: "leave out snapshots that are older than the newest one of the copy", Destination: &f.excludeOlder},
		&cli.BoolFlag{Name: "ephemeral", Aliases: []string{"e"}, Usage: "delete the copy when it is stopped", Destination: &f.ephemeral},
		&cli.StringSliceFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`PROFILE` of the copy instead of the source's; may be repeated", Destination: &f.profiles},
		&cli.BoolFlag{Name: "no-profiles", Usage: "give the copy no profiles", Destination: &f.noProfiles},
		&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "`KEY=VALUE` of the copy's configuration; may be repeated", Destination: &f.config},
		&cli.StringSliceFlag{Name: "device", Aliases: []string{"d"}, Usage: "`DEVICE,KEY=VALUE` of a device of the copy's, as root,size=10GiB; may be repeated", Destination: &f.devices},
	}
}

// targetPoolFlag is incus's --storage, also as --target-pool.
func targetPoolFlag(pool *string) cli.Flag {
	return &cli.StringFlag{Name: "storage", Aliases: []string{"s", "target-pool"}, Usage: "the `POOL` that it goes to", Destination: pool}
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
	for _, name := range []string{source, optional(args, 1)} {
		if isOnOtherServer(name) {
			return pool.CopyOptions{}, badUsage("copy", "%q is on another server: poolctl send NAME | ssh HOST poolctl receive copies an instance there", name)
		}
	}
	if isSnapshot && f.instanceOnly {
		return pool.CopyOptions{}, badUsage("copy", "--instance-only is for an instance, %s is a snapshot", args[0])
	}
	o := pool.CopyOptions{
		Source: source, Snapshot: snapshot, Name: optional(args, 1), Pool: f.pool, InstanceOnly: f.instanceOnly, Config: config, DeviceOverrides: devices,
		Profiles: f.profiles.Value(), Ephemeral: f.ephemeral, Refresh: f.refresh || f.excludeOlder, RefreshExcludeOlder: f.excludeOlder,
	}
	return o, f.check(&o)
}

// check refuses flags that do not go together.
func (f *copyFlags) check(o *pool.CopyOptions) error {
	made := len(o.Config) > 0 || len(o.DeviceOverrides) > 0 || len(o.Profiles) > 0 || f.noProfiles || f.ephemeral
	switch {
	case o.Refresh && o.Name == "":
		return badUsage("copy", "--refresh needs the name of the copy")
	case o.Refresh && made:
		return badUsage("copy", "--refresh leaves the configuration, the devices and the profiles of the copy as they are")
	case f.noProfiles && len(o.Profiles) > 0:
		return badUsage("copy", "--no-profiles and --profile exclude each other")
	case f.noProfiles:
		o.Profiles = []string{}
	}
	return nil
}

func copyCommand(e *env) *cli.Command {
	f := &copyFlags{}
	return &cli.Command{
		Name: "copy", Aliases: []string{"cp"}, Category: catInstances, Usage: "make a new instance of an instance or of a snapshot", ArgsUsage: "SOURCE[/SNAPSHOT] [NAME]",
		Description: example("The source may run. The copy has the source's snapshots, and hardware addresses, a UUID and a machine id of its own.\n"+
			"In the same pool it shares all data that neither changes; to another one (--storage) everything is sent.\n"+
			"Without NAME a random one is taken.\n\n"+
			"--refresh brings a stopped copy up to date: only the snapshots that it does not have are sent, and what changed since;\n"+
			"those that the source does not have are deleted.",
			"poolctl copy c1 c2", "poolctl copy c1/before-upgrade c3", "poolctl copy c1 c1-backup --storage backup", "poolctl copy c1 c1-backup --refresh"),
		Flags: f.flags(),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := f.options(args)
			if err != nil {
				return err
			}
			update, done := e.progress()
			o.Progress = update
			name, err := s.Copy(ctx, o)
			done(err == nil)
			if err == nil && o.Name == "" {
				err = e.printf("Instance name is: %s\n", name)
			}
			return err
		}),
	}
}
