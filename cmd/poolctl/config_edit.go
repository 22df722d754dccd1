package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// configEditHelp is what the user finds above the text.
const configEditHelp = `### This is a YAML representation of the configuration.
### Any line starting with a '#' will be ignored.
###
### A sample configuration looks like:
### config:
###   user.owner: ann
### devices:
###   data:
###     type: disk
###     source: /srv/data
###     path: /data
### ephemeral: false
### profiles:
### - default
### description: ""

`

func configEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change an instance's configuration as YAML, in an editor or from the input", ArgsUsage: "NAME",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `config show` prints is taken too. Keys volatile.* that are left\nout stay.",
			"poolctl config edit c1", "poolctl config edit c1 < c1.yaml"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := s.InstanceConfig(ctx, args[0], false)
			if err != nil {
				return err
			}
			return e.edit(ctx, configEditHelp, was, func(edited []byte) error {
				now, err := readInstancePut(edited)
				if err != nil {
					return fmt.Errorf("cannot change %s: %w", args[0], err)
				}
				return s.ReplaceInstance(ctx, args[0], was, now)
			})
		}),
	}
}

// readInstancePut reads the YAML of `config edit`. What else incus prints of an
// instance may be in it, and nothing more.
func readInstancePut(text []byte) (pool.InstancePut, error) {
	var file struct {
		pool.InstancePut `yaml:",inline"`
		Name             string                       `yaml:"name"`
		CreatedAt        time.Time                    `yaml:"created_at"`
		LastUsedAt       time.Time                    `yaml:"last_used_at"`
		ExpandedConfig   map[string]string            `yaml:"expanded_config"`
		ExpandedDevices  map[string]map[string]string `yaml:"expanded_devices"`
		Status           string                       `yaml:"status"`
		StatusCode       int                          `yaml:"status_code"`
		Location         string                       `yaml:"location"`
		Type             string                       `yaml:"type"`
		Project          string                       `yaml:"project"`
	}
	err := decodeEdited(text, &file, "architecture", "config", "devices", "ephemeral", "profiles", "stateful", "description")
	return file.InstancePut, err
}
