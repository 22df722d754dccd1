package main

import (
	"context"
	"maps"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolCreateCommand(e *env) *cli.Command {
	var size, source, description string
	return &cli.Command{
		Name: "create", Usage: "create a pool in a new sparse file", ArgsUsage: "NAME [btrfs] [KEY=VALUE...]",
		Description: example("Keys: size (2GiB), source (path of the file to make), user.*", "poolctl pool create fast btrfs size=20GiB source=/srv/fast.img"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "size", Usage: "`SIZE` of the pool, the same as size=", Destination: &size},
			&cli.StringFlag{Name: "source", Usage: "`FILE` to make, the same as source=", Destination: &source, TakesFile: true},
			&cli.StringFlag{Name: "description", Usage: "`TEXT` about the pool", Destination: &description},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			o, err := createPoolOptions(args, size, source)
			if err != nil {
				return err
			}
			o.Description = description
			if err := s.CreatePool(ctx, o); err != nil {
				return err
			}
			e.say("Storage pool %s created", o.Name)
			return nil
		}),
	}
}

// createPoolOptions reads NAME [DRIVER] [KEY=VALUE...] and the flags, which
// stand for keys.
func createPoolOptions(args []string, size, source string) (pool.CreatePoolOptions, error) {
	o := pool.CreatePoolOptions{Name: args[0]}
	rest := args[1:]
	if len(rest) > 0 && !isPair(rest[0]) {
		o.Driver, rest = rest[0], rest[1:]
	}
	config, err := keyValues("pool create", rest)
	if err != nil {
		return o, err
	}
	flags := map[string]string{"size": size, "source": source}
	maps.DeleteFunc(flags, func(_, v string) bool { return v == "" })
	for k, v := range flags {
		if have, twice := config[k]; twice && have != v {
			return o, badUsage("pool create", "%s is given twice: %s and %s", k, have, v)
		}
	}
	maps.Copy(config, flags)
	o.Config = config
	return o, nil
}
