package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func configCommand(e *env) *cli.Command {
	return group("config", nil, catInstances, "manage the configuration of instances",
		configShowCommand(e), configGetCommand(e), configSetCommand(e), configUnsetCommand(e), configEditCommand(e),
		group("device", nil, "", "manage the devices of instances: `config device set NAME root size=10GiB` limits its disk",
			deviceAddCommand(e), deviceGetCommand(e), deviceListCommand(e), deviceOverrideCommand(e),
			deviceRemoveCommand(e), deviceSetCommand(e), deviceShowCommand(e), deviceUnsetCommand(e)))
}

// expandedFlag is incus's --expanded.
func expandedFlag(expanded *bool) cli.Flag {
	return &cli.BoolFlag{Name: "expanded", Aliases: []string{"e"}, Usage: "with what its profiles give it", Destination: expanded}
}

func configShowCommand(e *env) *cli.Command {
	var format string
	var expanded bool
	return &cli.Command{
		Name: "show", Usage: "show the configuration of an instance or a snapshot", ArgsUsage: "NAME[/SNAPSHOT]",
		Description: example("", "poolctl config show c1 --expanded", "poolctl config show c1/before"),
		Flags:       []cli.Flag{formatFlag(&format, output.YAML), expandedFlag(&expanded)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			if name, snap, is := strings.Cut(args[0], "/"); is {
				info, err := s.Snapshot(ctx, name, snap) // which knows its size
				if err != nil {
					return err
				}
				sn := info.SnapshotConfig
				if expanded {
					sn.Config, sn.Devices = sn.ExpandedConfig, sn.ExpandedDevices
				}
				return output.Value(e.stdout, format, sn)
			}
			put, err := s.InstanceConfig(ctx, args[0], expanded)
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, put)
		}),
	}
}

func configGetCommand(e *env) *cli.Command {
	var expanded, property bool
	return &cli.Command{
		Name: "get", Usage: "print a key of an instance's configuration", ArgsUsage: "NAME[/SNAPSHOT] KEY",
		Description: example("A key that is not set has an empty value. Properties: architecture, created_at, description, ephemeral, last_used_at,\nname, pool, stateful, status, type.",
			"poolctl config get c1 user.owner", "poolctl config get --expanded c1 limits.memory", "poolctl config get -p c1 description"),
		Flags: []cli.Flag{expandedFlag(&expanded), propertyFlag(&property, "KEY is a property, such as description")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if property {
				value, err := instanceProperty(ctx, s, args[0], args[1])
				if err != nil {
					return err
				}
				return e.printf("%s\n", value)
			}
			value, err := s.InstanceValue(ctx, args[0], args[1], expanded)
			if err != nil {
				return err
			}
			return e.printf("%s\n", value)
		}),
	}
}

// instanceProperty is a field of an instance, or of a snapshot, that is no key of
// its configuration.
func instanceProperty(ctx context.Context, s *pool.System, ref, property string) (string, error) {
	var fields map[string]string
	if name, snap, is := strings.Cut(ref, "/"); is {
		sn, err := s.SnapshotConfig(ctx, name, snap)
		if err != nil {
			return "", err
		}
		fields = map[string]string{
			"architecture": sn.Architecture, "created_at": sn.CreatedAt.String(), "ephemeral": fmt.Sprint(sn.Ephemeral), "expires_at": sn.ExpiresAt.String(),
			"last_used_at": sn.LastUsedAt.String(), "name": sn.Name, "stateful": fmt.Sprint(sn.Stateful), "size": fmt.Sprint(sn.Size),
		}
	} else {
		in, err := s.Instance(ctx, ref)
		if err != nil {
			return "", err
		}
		fields = map[string]string{
			"architecture": in.Architecture, "created_at": in.CreatedAt.String(), "description": in.Description, "ephemeral": fmt.Sprint(in.Ephemeral),
			"last_used_at": in.LastUsedAt.String(), "name": in.Name, "pool": in.Pool, "stateful": "false", "status": in.Status, "type": in.Type,
		}
	}
	value, is := fields[property]
	if !is {
		return "", badUsage("config get", "unknown property %q: the properties are %s", property, strings.Join(sortedKeys(fields), ", "))
	}
	return value, nil
}

func configSetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "set", Usage: "change keys of an instance's configuration, or when a snapshot expires", ArgsUsage: "NAME[/SNAPSHOT] KEY=VALUE...",
		Description: example("All keys or none are changed. What can change while the instance runs changes at once, and what cannot is refused.\n"+
			"An empty value unsets a key, and the value - is read from the input. KEY VALUE works too. Properties: description, ephemeral;\n"+
			"of a snapshot expires_at, a span from now on or a date, and never without a value.",
			"poolctl config set c1 user.owner=ann environment.LANG=C.UTF-8", "poolctl config set c1 cloud-init.user-data - < user-data.yaml",
			`poolctl config set -p c1 description="the web server"`, "poolctl config set -p c1/before expires_at=4w"),
		Flags: []cli.Flag{propertyFlag(&property, "KEY is a property, such as description")},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			values, err := e.setPairs("config set", args[1:])
			if err != nil {
				return err
			}
			return setInstance(ctx, s, args[0], "config set", values, property)
		}),
	}
}

func configUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "unset a key of an instance's configuration", ArgsUsage: "NAME[/SNAPSHOT] KEY",
		Description: example("", "poolctl config unset c1 user.owner", "poolctl config unset -p c1/before expires_at"),
		Flags:       []cli.Flag{propertyFlag(&property, "KEY is a property, such as description")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return setInstance(ctx, s, args[0], "config unset", map[string]string{args[1]: ""}, property)
		}),
	}
}

// setInstance changes keys, or properties, of an instance; "" unsets one.
func setInstance(ctx context.Context, s *pool.System, name, command string, values map[string]string, property bool) error {
	if !property {
		return s.SetInstanceConfig(ctx, name, values)
	}
	if instance, snap, is := strings.Cut(name, "/"); is {
		expiry, given := values[propertyExpiry]
		if !given || len(values) > 1 {
			return badUsage(command, "the property of a snapshot that can be changed is %s", propertyExpiry)
		}
		return s.SetSnapshotExpiry(ctx, instance, snap, expiry)
	}
	return s.UpdateInstance(ctx, name, func(put *pool.InstancePut) error {
		for k, v := range values {
			switch k {
			case "description":
				put.Description = v
			case "ephemeral":
				is, err := parseBool(v)
				if err != nil {
					return badUsage(command, "ephemeral=%s: %s", v, err)
				}
				put.Ephemeral = is
			default:
				return badUsage(command, "unknown property %q: the properties that can be changed are description and ephemeral", k)
			}
		}
		return nil
	})
}

// propertyExpiry is when a snapshot may be deleted.
const propertyExpiry = "expires_at"

// parseBool reads a property that is true or false; "" is false.
func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off", "":
		return false, nil
	}
	return false, fmt.Errorf("not true or false")
}

// setPairs reads the arguments of a set command: KEY=VALUE..., or KEY VALUE as LXD
// had it. The value "-" is what is on the input, unless that is a terminal.
func (e *env) setPairs(command string, words []string) (map[string]string, error) {
	if len(words) == 2 && !isPair(words[0]) {
		words = []string{words[0] + "=" + words[1]}
	}
	values, err := keyValues(command, words)
	if err != nil || term.IsTerminal(int(e.stdin.Fd())) {
		return values, err
	}
	for _, k := range sortedKeys(values) {
		if values[k] == "-" {
			text, err := io.ReadAll(io.LimitReader(e.stdin, maxValue+1))
			if err != nil {
				return nil, fmt.Errorf("cannot read the value of %s: %w", k, err)
			}
			if len(text) > maxValue {
				return nil, fmt.Errorf("cannot read the value of %s: it is larger than %d bytes", k, maxValue)
			}
			values[k] = string(text)
		}
	}
	return values, nil
}

// maxValue bounds a value that is read from the input.
const maxValue = 1 << 20
