package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/pool"
)

const imageExportHelp = `An image that was imported or published comes out byte for byte. Of one that was pulled, the files are fetched again from
its remote and verified; where that has them no more, the image is packed anew, which gives it another fingerprint and is told.

A split image becomes meta-FINGERPRINT.tar.xz and FINGERPRINT.squashfs in the directory TARGET (by default the working
directory), or TARGET and TARGET.root; a unified one FINGERPRINT.tar.gz, or TARGET.tar.gz, or, with "-", standard output. The
endings are those of the files' formats.`

func imageExportCommand(e *env) *cli.Command {
	o := pool.ExportImageOptions{}
	var vm bool
	return &cli.Command{
		Name: "export", Usage: "write an image's files", ArgsUsage: "[REMOTE:]IMAGE [TARGET]",
		Description: example(imageExportHelp, "poolctl image export web/1 /srv/images", "poolctl image export images:alpine/3.20 ."),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Usage: "overwrite files that are there", Destination: &o.Force},
			vmFlag(&vm),
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) (err error) {
			o.Image, o.Target, o.Type = args[0], optional(args, 1), vmType(vm)
			update, done := e.progress()
			o.Progress = update
			var out pool.ExportedImage
			if o.Target == "-" {
				if term.IsTerminal(int(e.stdout.Fd())) {
					err = errors.New("an image is not for a terminal")
				} else {
					err = s.ExportImageTo(ctx, o, e.stdout)
				}
			} else {
				out, err = s.ExportImage(ctx, o)
			}
			done(err == nil)
			if err != nil || o.Target == "-" {
				return err
			}
			for _, f := range out.Files {
				e.say("Written: %s", f)
			}
			e.say("Image exported successfully!")
			return nil
		}),
	}
}
