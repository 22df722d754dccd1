package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"poolctl/pool"
)

// propertyFlag is -p: a property of the volume, not a key of its configuration.
func propertyFlag(property *bool) cli.Flag {
	return &cli.BoolFlag{Name: "property", Aliases: []string{"p"}, Usage: "KEY is a property: description", Destination: property}
}

// changeVolume changes a custom volume or a snapshot of one.
func changeVolume(ctx context.Context, s *pool.System, name, ref string, change func(*pool.VolumePut) error) error {
	volume, snapshot := volumeSnapshotRef(ref)
	if snapshot != "" {
		return s.UpdateVolumeSnapshot(ctx, name, volume, snapshot, change)
	}
	return s.UpdateVolume(ctx, name, volume, change)
}

// setVolumeKeys puts keys, or properties, into a volume; "" unsets one.
func setVolumeKeys(command string, values map[string]string, property bool) func(*pool.VolumePut) error {
	return func(put *pool.VolumePut) error {
		for k, v := range values {
			switch {
			case !property:
				put.Config[k] = v
			case k == "description":
				put.Description = v
			default:
				return badUsage(command, "unknown property %q: the property is description", k)
			}
		}
		return nil
	}
}

func volumeGetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "get", Usage: "show one key of a custom volume's configuration", ArgsUsage: "POOL VOLUME[/SNAPSHOT] KEY",
		Description: example("", "poolctl pool volume get default data size"), Flags: []cli.Flag{propertyFlag(&property)},
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			var config map[string]string
			var description string
			if volume, snapshot := volumeSnapshotRef(args[1]); snapshot != "" {
				sn, err := s.VolumeSnapshot(ctx, args[0], volume, snapshot)
				if err != nil {
					return err
				}
				config, description = sn.Config, sn.Description
			} else {
				v, err := s.Volume(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				config, description = v.Config, v.Description
			}
			value := config[args[2]]
			if property {
				if value = description; args[2] != "description" {
					return badUsage("pool volume get", "unknown property %q: the property is description", args[2])
				}
			}
			return e.printf("%s\n", value)
		}),
	}
}

func volumeSetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "set", Usage: "change keys of a custom volume's configuration", ArgsUsage: "POOL VOLUME KEY=VALUE...",
		Description: example("The keys are those of create. A new size is in force at once.", "poolctl pool volume set default data size=20GiB"),
		Flags:       []cli.Flag{propertyFlag(&property)},
		Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
			pairs := args[2:]
			if len(pairs) == 2 && !isPair(pairs[0]) { // as LXD has it
				pairs = []string{pairs[0] + "=" + pairs[1]}
			}
			values, err := keyValues("pool volume set", pairs)
			if err != nil {
				return err
			}
			return changeVolume(ctx, s, args[0], args[1], setVolumeKeys("pool volume set", values, property))
		}),
	}
}

func volumeUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "remove a key of a custom volume's configuration", ArgsUsage: "POOL VOLUME KEY",
		Description: example("", "poolctl pool volume unset default data size"), Flags: []cli.Flag{propertyFlag(&property)},
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return changeVolume(ctx, s, args[0], args[1], setVolumeKeys("pool volume unset", map[string]string{args[2]: ""}, property))
		}),
	}
}

func volumeEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "edit a custom volume's configuration as YAML", ArgsUsage: "POOL VOLUME[/SNAPSHOT]",
		Description: example("Opens $VISUAL or $EDITOR; without a terminal, the YAML is read from standard input.", "poolctl pool volume edit default data",
			"poolctl pool volume edit default data < volume.yaml"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return changeVolume(ctx, s, args[0], args[1], func(put *pool.VolumePut) error {
				shown, err := yaml.Marshal(put)
				if err != nil {
					return err
				}
				edited, err := e.editYAML(ctx, shown)
				if err != nil {
					return err
				}
				next := pool.VolumePut{}
				dec := yaml.NewDecoder(bytes.NewReader(edited))
				dec.KnownFields(true)
				if err := dec.Decode(&next); err != nil {
					return fmt.Errorf("cannot read the edited YAML: %w", err)
				}
				if next.Config == nil {
					next.Config = map[string]string{}
				}
				*put = next
				return nil
			})
		}),
	}
}
