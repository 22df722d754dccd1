package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func imageRefreshCommand(e *env) *cli.Command {
	var all, auto bool
	return &cli.Command{
		Name: "refresh", Usage: "bring images up to date", ArgsUsage: "IMAGE... or --all",
		Description: example("The server that an image was pulled from is asked what it has now under the same alias. A newer version takes the image's\n"+
			"place, with its aliases and what was set of it; the old one is deleted, and instances that were made from it stay whole.\n"+
			"A server that cannot be asked is an error, and others are asked all the same. A remote that was removed is not\n"+
			"asked any more. What is signed, or comes by https, never follows a server that is neither.\n"+
			"`poolctl admin systemd` has a timer that does it.",
			"poolctl image refresh alpine", "poolctl image refresh --all --auto"),
		Flags: []cli.Flag{
			allFlag(&all, "refresh every image that was pulled"),
			&cli.BoolFlag{Name: "auto", Usage: "only those that are to be kept up to date (Auto update: enabled)", Destination: &auto},
		},
		Action: func(c *cli.Context) error {
			if all == (c.NArg() > 0) {
				return usagef(c, "either images or --all")
			}
			return e.action(0, many, func(ctx context.Context, s *pool.System, refs []string) error {
				update, done := e.progress()
				o := pool.RefreshOptions{Auto: auto, Progress: update, Done: e.sayRefreshed}
				if !all {
					o.Images = refs
				}
				err := s.RefreshImages(ctx, o)
				done(err == nil)
				return eachOf(err)
			})(c)
		},
	}
}

// sayRefreshed tells what has become of one image.
func (e *env) sayRefreshed(im pool.Image, next string) {
	name := im.Fingerprint[:12]
	if len(im.Aliases) > 0 {
		name = im.Aliases[0].Name
	}
	if next == "" {
		e.say("Image %s is up to date", name)
		return
	}
	e.say("Image %s is now %s, in pool %s", name, next[:12], im.Pool)
}
