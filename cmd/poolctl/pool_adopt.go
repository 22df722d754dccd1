package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolAdoptCommand(e *env) *cli.Command {
	var name string
	return &cli.Command{
		Name: "adopt", Usage: "take in an existing pool with all that is in it", ArgsUsage: "FILE",
		Description: example("FILE is a pool's image file, block device or subvolume, of poolctl, LXD or Incus; it stays where it is. "+
			"Instances keep their configuration: profiles that are not here are made, and what one of the same name says differently here becomes the instance's own. "+
			"A network adapter of a network that is not here is put on that of the default profile; devices that only the profiles here have are hidden, and so are disks of the host's, each with a notice of how to add it again.",
			"poolctl pool adopt /var/lib/lxd/disks/default.img --name from-lxd"),
		Flags: []cli.Flag{&cli.StringFlag{Name: "name", Usage: "`NAME` for the pool here, instead of the one that it has", Destination: &name}},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			name, err := s.AdoptPool(ctx, args[0], name)
			if err != nil {
				return err
			}
			e.say("Storage pool %s adopted", name)
			return nil
		}),
	}
}
