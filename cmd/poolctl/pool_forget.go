package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func poolForgetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "forget", Usage: "give pools up here, and keep what they lie on", ArgsUsage: "NAME...",
		Description: example("Detaches a pool and forgets it: its file, device or subvolume stays whole with all that is in it, and `pool adopt` takes it in again, "+
			"here or on another machine. Refused while it is in use. Profiles lose the devices that are on it.",
			"poolctl pool forget usb", "poolctl pool adopt /media/usb/pool.img"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, name string) error {
				source, err := s.ForgetPool(ctx, name)
				if err != nil {
					return err
				}
				e.say("Storage pool %s forgotten, %s is as it was", name, source)
				return nil
			})
		}),
	}
}
