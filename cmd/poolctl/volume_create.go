package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func volumeCreateCommand(e *env) *cli.Command {
	o := pool.CreateVolumeOptions{}
	return &cli.Command{
		Name: "create", Aliases: []string{"add"}, Usage: "create an empty custom volume", ArgsUsage: "POOL VOLUME [KEY=VALUE...]",
		Description: example("Keys: size, security.shifted, security.unmapped, snapshots.expiry, snapshots.pattern, snapshots.schedule,\n"+
			"snapshots.retention, initial.uid, initial.gid, initial.mode, user.*. What is not given is as the pool's volume.* keys have it.",
			"poolctl pool volume create default data size=10GiB", "poolctl pool volume create default shared snapshots.expiry=2w"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "type", Usage: "`TYPE` of the content: filesystem", Value: "filesystem", Destination: &o.ContentType},
			&cli.StringFlag{Name: "description", Usage: "`TEXT` about the volume", Destination: &o.Description},
		},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) (err error) {
			o.Pool, o.Name = args[0], args[1]
			if o.Config, err = keyValues("pool volume create", args[2:]); err != nil {
				return err
			}
			if err := s.CreateVolume(ctx, o); err != nil {
				return err
			}
			e.say("Storage volume %s created", o.Name)
			return nil
		}),
	}
}
