package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

const publishHelp = `The image has the files of the instance as they are now, or as they were at the snapshot, with the owners that are seen
inside. A running instance has to be stopped; --force does that, and starts it again after a moment.

It is a split image whose root is a squashfs with zstd (by the program mksquashfs, of squashfs-tools), or a .tar.zst where
files have POSIX ACLs, which a squashfs cannot hold. --compression says otherwise. key=value sets a property; if there is
any, those of the instance's own image are left out. The same snapshot gives the same image each time.`

func publishCommand(e *env) *cli.Command {
	o := pool.PublishOptions{}
	var aliases cli.StringSlice
	var expire string
	return &cli.Command{
		Name: "publish", Category: catInstances, Usage: "make an image of an instance or of a snapshot", ArgsUsage: "INSTANCE[/SNAPSHOT] [local:] [key=value...]",
		Description: example(publishHelp, "poolctl publish c1/s0 --alias web/1", "poolctl publish c1 --force --reuse --alias web description=\"web server\""),
		Flags: append(newImageFlags(&o.NewImageOptions, &aliases),
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "stop the instance if it runs, and start it again", Destination: &o.Force},
			&cli.StringFlag{Name: "compression", Usage: "`HOW` to compress: " + pool.CompressionMethods() + "; a level may follow: \"xz -9\"", Destination: &o.Compression},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the image: split or unified (one archive)", Value: "split", Destination: &o.Format},
			&cli.StringFlag{Name: "expire", Usage: "`DATE` of its expiry, as in 2030-12-31T00:00:00Z (RFC 3339), which is shown; the image is not deleted then", Destination: &expire},
		),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) (err error) {
			o.Instance = args[0]
			rest := args[1:]
			if len(rest) > 0 && !isPair(rest[0]) {
				if rest[0] != localRemote+":" {
					return badUsage("publish", "the target can only be %q, not %q; --alias names the image", localRemote+":", rest[0])
				}
				rest = rest[1:]
			}
			if o.Properties, err = keyValues("publish", rest); err != nil {
				return err
			}
			if expire != "" {
				if o.ExpiresAt, err = time.Parse(time.RFC3339, expire); err != nil {
					return badUsage("publish", "%q is no date like 2030-12-31T00:00:00Z", expire)
				}
			}
			o.Aliases = aliases.Value()
			update, done := e.progress()
			o.Progress = update
			im, err := s.Publish(ctx, o)
			done(err == nil)
			if err == nil {
				e.say("Instance published with fingerprint: %s", im.Fingerprint)
			}
			return err
		}),
	}
}
