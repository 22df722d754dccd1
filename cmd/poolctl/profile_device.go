package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func profileDeviceCommands(e *env) *cli.Command {
	return group("device", nil, "", "manage the devices of profiles",
		&cli.Command{
			Name: "add", Usage: "give a profile a device", ArgsUsage: "PROFILE DEVICE TYPE [KEY=VALUE...]",
			Description: example("In instances that run, disks and unix devices are there at once.", "poolctl profile device add web data disk pool=default source=data path=/srv/data"),
			Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
				config, err := keyValues("profile device add", args[3:])
				if err != nil {
					return err
				}
				config["type"] = args[2]
				if err := s.AddProfileDevice(ctx, args[0], args[1], config); err != nil {
					return err
				}
				e.say("Device %s added to %s", args[1], args[0])
				return nil
			}),
		},
		&cli.Command{
			Name: "get", Usage: "print a key of a profile's device", ArgsUsage: "PROFILE DEVICE KEY", Description: example("", "poolctl profile device get default root size"),
			Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
				dev, err := s.ProfileDevice(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return e.printf("%s\n", dev[args[2]])
			}),
		},
		profileDeviceListCommand(e), profileDeviceShowCommand(e),
		&cli.Command{
			Name: "remove", Aliases: []string{"rm"}, Usage: "take devices from a profile", ArgsUsage: "PROFILE DEVICE...", Description: example("", "poolctl profile device remove web data"),
			Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
				if err := s.RemoveProfileDevice(ctx, args[0], args[1:]...); err != nil {
					return err
				}
				e.say("Device %s removed from %s", strings.Join(args[1:], ", "), args[0])
				return nil
			}),
		},
		&cli.Command{
			Name: "set", Usage: "set keys of a profile's device", ArgsUsage: "PROFILE DEVICE KEY=VALUE...", Description: example("KEY VALUE works too.", "poolctl profile device set default root size=10GiB"),
			Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
				config, err := e.setPairs("profile device set", args[2:])
				if err != nil {
					return err
				}
				return s.SetProfileDevice(ctx, args[0], args[1], config)
			}),
		},
		&cli.Command{
			Name: "unset", Usage: "unset a key of a profile's device", ArgsUsage: "PROFILE DEVICE KEY", Description: example("", "poolctl profile device unset default root size"),
			Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
				return s.SetProfileDevice(ctx, args[0], args[1], map[string]string{args[2]: ""})
			}),
		})
}

func profileDeviceListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the devices of a profile", ArgsUsage: "PROFILE", Description: example("", "poolctl profile device list default"),
		Flags: []cli.Flag{formatFlag(&format, output.CSV)}, // as incus: names, each on a line
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			p, err := s.Profile(ctx, args[0])
			if err != nil {
				return err
			}
			var rows [][]string
			for _, n := range sortedKeys(p.Devices) {
				rows = append(rows, []string{n})
			}
			return output.List{Header: []string{"NAME"}, Rows: rows, Values: orEmpty(sortedKeys(p.Devices))}.Write(e.stdout, format)
		}),
	}
}

func profileDeviceShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show the devices of a profile", ArgsUsage: "PROFILE", Description: example("", "poolctl profile device show default"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			p, err := s.Profile(ctx, args[0])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, p.Devices)
		}),
	}
}
