package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func deviceAddCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "give an instance a device", ArgsUsage: "NAME DEVICE TYPE [KEY=VALUE...]",
		Description: example("Types: nic: an interface on a network (network, ipv4.address, ipv6.address), or nictype=bridged, macvlan,\n"+
			"physical or routed with parent, or p2p, with name, hwaddr, mtu, limits.ingress, limits.egress (docs/network.md has\n"+
			"all keys); disk: the root disk (path=/, pool, size), a volume (pool, source, path) or a\n"+
			"directory or file of the host's (source, path, recursive, shift, propagation=slave: what the host mounts below it\n"+
			"later appears inside, if the mount there is a shared one), with readonly and required; unix-char and\n"+
			"unix-block: a device of the host's (source and path, or one of them for both, or major and minor; mode 0660, uid 0\n"+
			"and gid 0 as inside, required); proxy: passes connections on from listen to connect, tcp:ADDRESS:PORTS,\n"+
			"udp:ADDRESS:PORTS or unix:PATH each, from the host into the instance or with bind=instance back (uid, gid, mode,\n"+
			"security.uid, security.gid, proxy_protocol, nat); none (takes away a profile's device of that name). Nics, proxies,\n"+
			"disks and devices of the host's come to and go from an instance that runs; what a program inside has open of a device,\n"+
			"it keeps. required=false leaves out, until the next start, what the host has not.",
			"poolctl config device add c1 eth1 nic network=poolbr0", "poolctl config device add c1 eth1 nic nictype=macvlan parent=eth0", "poolctl config device add c1 serial unix-char source=/dev/ttyS0 path=/dev/modem gid=20",
			"poolctl config device add c1 ssh proxy listen=tcp:0.0.0.0:8022 connect=tcp:127.0.0.1:22"),
		Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
			config, err := keyValues("config device add", args[3:])
			if err != nil {
				return err
			}
			config["type"] = args[2]
			if err := s.AddInstanceDevice(ctx, args[0], args[1], config); err != nil {
				return err
			}
			e.say("Device %s added to %s", args[1], args[0])
			return nil
		}),
	}
}

func deviceGetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "print a key of an instance's device", ArgsUsage: "NAME DEVICE KEY", Description: example("", "poolctl config device get c1 root size"),
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			dev, err := s.InstanceDevice(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return e.printf("%s\n", dev[args[2]])
		}),
	}
}

func deviceListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the devices of an instance's own", ArgsUsage: "NAME", Description: example("", "poolctl config device list c1"),
		Flags: []cli.Flag{formatFlag(&format, output.CSV)}, // as incus: names, each on a line
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			in, err := s.Instance(ctx, args[0])
			if err != nil {
				return err
			}
			names := slices.Sorted(maps.Keys(in.Devices))
			var rows [][]string
			for _, n := range names {
				rows = append(rows, []string{n})
			}
			return output.List{Header: []string{"NAME"}, Rows: rows, Values: orEmpty(names)}.Write(e.stdout, format)
		}),
	}
}

func deviceOverrideCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "override", Usage: "give an instance a copy of its profile's device, with other keys", ArgsUsage: "NAME DEVICE [KEY=VALUE...]",
		Description: example("", "poolctl config device override c1 root size=10GiB"),
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			config, err := keyValues("config device override", args[2:])
			if err != nil {
				return err
			}
			if err := s.OverrideInstanceDevice(ctx, args[0], args[1], config); err != nil {
				return err
			}
			e.say("Device %s overridden for %s", args[1], args[0])
			return nil
		}),
	}
}

func deviceRemoveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "remove", Aliases: []string{"rm"}, Usage: "take devices from an instance", ArgsUsage: "NAME DEVICE...",
		Description: example("A device that a profile gives it stays: add one of that name and type none.", "poolctl config device remove c1 eth1"),
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.RemoveInstanceDevice(ctx, args[0], args[1:]...); err != nil {
				return err
			}
			e.say("Device %s removed from %s", strings.Join(args[1:], ", "), args[0])
			return nil
		}),
	}
}

func deviceSetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "set keys of an instance's device", ArgsUsage: "NAME DEVICE KEY=VALUE...",
		Description: example("The size of the root disk takes effect at once, also while the instance runs. It counts what is in the\n"+
			"instance, the image's bytes and nested subvolumes included, its snapshots not. KEY VALUE works too.\n"+
			"In a pool with btrfs.quotas=simple, what is deleted while a snapshot still has it goes on to count until the\n"+
			"limit is counted anew: at the next start, at a change of its snapshots, and when the same size is set again.",
			"poolctl config device set c1 root size=10GiB"),
		Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
			words := args[2:]
			if len(words) == 2 && !isPair(words[0]) {
				words = []string{words[0] + "=" + words[1]}
			}
			config, err := keyValues("config device set", words)
			if err != nil {
				return err
			}
			return s.SetInstanceDevice(ctx, args[0], args[1], config)
		}),
	}
}

func deviceShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show the devices of an instance's own", ArgsUsage: "NAME", Description: example("", "poolctl config device show c1"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			in, err := s.Instance(ctx, args[0])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, in.Devices)
		}),
	}
}

func deviceUnsetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "unset", Usage: "unset a key of an instance's device", ArgsUsage: "NAME DEVICE KEY", Description: example("", "poolctl config device unset c1 root size"),
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return s.UnsetInstanceDevice(ctx, args[0], args[1], args[2])
		}),
	}
}

// deviceOverrides reads the values of --device: DEVICE,KEY=VALUE.
func deviceOverrides(command string, words []string) (map[string]map[string]string, error) {
	var out map[string]map[string]string
	for _, w := range words {
		device, pair, ok := strings.Cut(w, ",")
		if !ok || device == "" || !isPair(pair) {
			return nil, badUsage(command, "--device %q is not of the form DEVICE,KEY=VALUE", w)
		}
		key, value, _ := strings.Cut(pair, "=")
		if out == nil {
			out = map[string]map[string]string{}
		}
		if out[device] == nil {
			out[device] = map[string]string{}
		}
		out[device][key] = value
	}
	return out, nil
}
