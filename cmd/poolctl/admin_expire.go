package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func adminExpireCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "expire", Usage: "delete the snapshots whose time is over, cached images that are not used, and what was long in the trash",
		Description: example("In all pools that are attached. An image is cached when it was pulled for an instance; it goes when no instance was made\n"+
			"from it for as many days as the pool's key images.remote_cache_expiry says (10; 0 = never), or when its expiry date is over\n"+
			"and no instance was made from it for a day. Instances stay whole.\n"+
			"What was deleted goes from the trash after the time that the pool's key trash.expiry says (7d).\n"+
			"For a timer, which `poolctl admin systemd` has: there is no daemon that does it.", "poolctl admin expire"),
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			gone, err := s.ExpireSnapshots(ctx)
			for _, ref := range gone {
				e.say("Snapshot %s deleted", ref)
			}
			unused, ierr := s.ExpireImages(ctx)
			for _, ref := range unused {
				e.say("Image %s deleted", ref)
			}
			trashed, terr := s.ExpireTrash(ctx)
			for _, ref := range trashed {
				e.say("%s deleted from the trash", ref)
			}
			return errors.Join(err, ierr, terr)
		}),
	}
}
