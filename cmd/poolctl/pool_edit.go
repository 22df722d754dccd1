package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// poolEditHelp is what the user finds above the text.
const poolEditHelp = `### This is a YAML representation of a storage pool.
### Any line starting with a '#' will be ignored.
###
### A storage pool consists of a set of configuration items and a description:
###
### config:
###   size: 20GiB
###   source: /var/lib/poolctl/disks/default.img
###   compress: zstd
### description: ""
###
### The source cannot be changed, and a new size only by itself: it resizes the pool.

`

func poolEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change a pool's configuration as YAML, in an editor or from the input", ArgsUsage: "NAME",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `pool show` prints is taken too.", "poolctl pool edit default", "poolctl pool edit default < pool.yaml"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := s.PoolConfig(ctx, args[0])
			if err != nil {
				return err
			}
			return e.edit(ctx, poolEditHelp, was, func(edited []byte) error {
				now, err := readPoolConfig(edited)
				if err != nil {
					return fmt.Errorf("cannot change pool %s: %w", args[0], err)
				}
				update, done := e.progress()
				err = s.ReplacePool(ctx, args[0], was, now, update)
				done(err == nil)
				return err
			})
		}),
	}
}

// readPoolConfig reads the YAML of `pool edit`. What else `pool show` prints may
// be in it, and nothing more.
func readPoolConfig(text []byte) (pool.PoolConfig, error) {
	var file struct {
		pool.PoolConfig `yaml:",inline"`
		Name            string   `yaml:"name"`
		Driver          string   `yaml:"driver"`
		UsedBy          []string `yaml:"used_by"`
		Status          string   `yaml:"status"`
		Locations       []string `yaml:"locations"`
	}
	err := decodeEdited(text, &file, "config", "description", "name", "driver", "used_by", "status", "locations")
	return file.PoolConfig, err
}
