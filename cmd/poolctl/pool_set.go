package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolSetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "set", Usage: "change a pool's configuration", ArgsUsage: "NAME KEY=VALUE...",
		Description: example("All keys or none are changed, and what an attached pool can take takes effect at once. An empty value unsets a key. A new size, which\nhas to be set by itself, resizes the pool.\n\n"+
			"Among the keys are images.remote_cache_expiry, after how many days without use an image is deleted that was pulled for an\n"+
			"instance (10; 0 is never), and images.auto_update_cached, whether such images are kept up to date (true). pool create --help\n"+
			"lists all.",
			"poolctl pool set default size=20GiB", "poolctl pool set default compress=zstd:3 volume.size=10GiB", "poolctl pool set default -p description=\"fast disk\""),
		Flags: []cli.Flag{propertyFlag(&property, "set properties, such as description, in place of keys")},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			words := args[1:]
			if len(words) == 2 && !isPair(words[0]) { // the older form: NAME KEY VALUE
				words = []string{words[0] + "=" + words[1]}
			}
			values, err := keyValues("pool set", words)
			if err != nil {
				return err
			}
			change := pool.PoolChange{Config: values}
			if property {
				if change, err = poolProperties(values); err != nil {
					return err
				}
			}
			update, done := e.progress()
			change.Progress = update
			err = s.SetPool(ctx, args[0], change)
			done(err == nil)
			return err
		}),
	}
}

// propertyFlag is incus's -p.
func propertyFlag(property *bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: "property", Aliases: []string{"p"}, Usage: usage, Destination: property}
}

// poolProperties are the properties of a pool that can be changed.
func poolProperties(values map[string]string) (pool.PoolChange, error) {
	var change pool.PoolChange
	for k, v := range values {
		if k != "description" {
			return change, badUsage("pool set", "unknown property %q: a pool has description", k)
		}
		change.Description = &v
	}
	return change, nil
}

func poolUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "unset a key of a pool's configuration", ArgsUsage: "NAME KEY", Description: example("", "poolctl pool unset default compress"),
		Flags: []cli.Flag{propertyFlag(&property, "unset a property, such as description, in place of a key")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			values := map[string]string{args[1]: ""}
			change := pool.PoolChange{Config: values}
			if property {
				var err error
				if change, err = poolProperties(values); err != nil {
					return err
				}
			}
			return s.SetPool(ctx, args[0], change)
		}),
	}
}
