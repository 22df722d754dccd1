package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolAdoptCommand(e *env) *cli.Command {
	var name string
	var rename cli.StringSlice
	return &cli.Command{
		Name: "adopt", Usage: "take in an existing pool with all that is in it", ArgsUsage: "FILE",
		Description: example("FILE is a pool's image file, block device or subvolume, of poolctl, LXD or Incus; it stays where it is. "+
			"Instances keep their configuration: profiles that are not here are made, and what one of the same name says differently here becomes the instance's own. "+
			"A network adapter of a network that is not here is put on that of the default profile; devices that only the profiles here have are hidden, and so are disks and devices of the host's, each with a notice of how to add it again.",
			"poolctl pool adopt /var/lib/lxd/disks/default.img --name from-lxd", "poolctl pool adopt old.img --rename web=web-old --rename db=db-old"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "`NAME` for the pool here, instead of the one that it has", Destination: &name},
			&cli.StringSliceFlag{Name: "rename", Usage: "`OLD=NEW` name of an instance in it, such as one whose name is taken here; may be repeated", Destination: &rename},
		},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			names, err := keyValues("pool adopt", rename.Value())
			if err != nil {
				return err
			}
			name, err := s.AdoptPool(ctx, args[0], pool.AdoptOptions{Name: name, Rename: names})
			if err != nil {
				return err
			}
			e.say("Storage pool %s adopted", name)
			return nil
		}),
	}
}
