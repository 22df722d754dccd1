package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// changeVolume changes a custom volume or a snapshot of one.
func changeVolume(ctx context.Context, s *pool.System, name, ref string, change func(*pool.VolumePut) error) error {
	volume, snapshot := volumeSnapshotRef(ref)
	if snapshot != "" {
		return s.UpdateVolumeSnapshot(ctx, name, volume, snapshot, change)
	}
	return s.UpdateVolume(ctx, name, volume, change)
}

// setVolume changes keys, or properties, of a volume or a snapshot; "" unsets one.
func setVolume(ctx context.Context, s *pool.System, name, ref, command string, values map[string]string, property bool) error {
	return changeVolume(ctx, s, name, ref, func(put *pool.VolumePut) error {
		return putKeys(command, values, property, put.Config, &put.Description)
	})
}

func volumeGetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "get", Usage: "show one key of a custom volume's configuration", ArgsUsage: "POOL VOLUME[/SNAPSHOT] KEY",
		Description: example("", "poolctl pool volume get default data size"), Flags: []cli.Flag{propertyFlag(&property, "KEY is a property: description")},
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
		Flags:       []cli.Flag{propertyFlag(&property, "KEY is a property: description")},
		Action: e.action(3, many, func(ctx context.Context, s *pool.System, args []string) error {
			values, err := e.setPairs("pool volume set", args[2:])
			if err != nil {
				return err
			}
			return setVolume(ctx, s, args[0], args[1], "pool volume set", values, property)
		}),
	}
}

func volumeUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "remove a key of a custom volume's configuration", ArgsUsage: "POOL VOLUME KEY",
		Description: example("", "poolctl pool volume unset default data size"), Flags: []cli.Flag{propertyFlag(&property, "KEY is a property: description")},
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return setVolume(ctx, s, args[0], args[1], "pool volume unset", map[string]string{args[2]: ""}, property)
		}),
	}
}

// volumeEditHelp is what the user finds above the text.
const volumeEditHelp = `### This is a YAML representation of a storage volume.
### Any line starting with a '#' will be ignored.
###
### A storage volume consists of a set of configuration items and a description; a snapshot may have expires_at:
###
### config:
###   size: 20GiB
### description: ""

`

func volumeEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change a custom volume's configuration as YAML, in an editor or from the input", ArgsUsage: "POOL VOLUME[/SNAPSHOT]",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `show` prints is taken too.", "poolctl pool volume edit default data",
			"poolctl pool volume edit default data < volume.yaml"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := shownVolume(ctx, s, args[0], args[1])
			if err != nil {
				return err
			}
			return e.edit(ctx, volumeEditHelp, was, func(edited []byte) error {
				next, err := readVolume(edited)
				if err != nil {
					return fmt.Errorf("cannot change volume %s: %w", args[1], err)
				}
				return changeVolume(ctx, s, args[0], args[1], func(put *pool.VolumePut) error {
					if !maps.Equal(put.Config, was.Config) || put.Description != was.Description {
						return fmt.Errorf("cannot change volume %s: another command has changed it meanwhile", args[1])
					}
					for k, v := range was.Config { // what is not the user's stays, also when it is left out
						if _, given := next.Config[k]; !given && strings.HasPrefix(k, "volatile.") {
							next.Config[k] = v
						}
					}
					*put = next
					return nil
				})
			})
		}),
	}
}

// shownVolume is what of a custom volume, or of a snapshot of one, can be edited.
func shownVolume(ctx context.Context, s *pool.System, name, ref string) (pool.VolumePut, error) {
	if volume, snapshot := volumeSnapshotRef(ref); snapshot != "" {
		sn, err := s.VolumeSnapshot(ctx, name, volume, snapshot)
		return pool.VolumePut{Config: sn.Config, Description: sn.Description, ExpiresAt: sn.ExpiresAt}, err
	}
	v, err := s.Volume(ctx, name, ref)
	return pool.VolumePut{Config: v.Config, Description: v.Description}, err
}

// readVolume reads the YAML of `edit`. What else `show` prints may be in it, and
// nothing more.
func readVolume(text []byte) (pool.VolumePut, error) {
	var file struct {
		pool.VolumePut `yaml:",inline"`
		Name           string    `yaml:"name"`
		Type           string    `yaml:"type"`
		UsedBy         []string  `yaml:"used_by"`
		Location       string    `yaml:"location"`
		ContentType    string    `yaml:"content_type"`
		Project        string    `yaml:"project"`
		CreatedAt      time.Time `yaml:"created_at"`
	}
	err := decodeEdited(text, &file, "config", "description", "expires_at", "name", "type", "used_by", "location", "content_type", "project", "created_at")
	if file.Config == nil {
		file.Config = map[string]string{}
	}
	return file.VolumePut, err
}
