package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

const publishMirrorHelp = `DIR becomes, or stays, a simplestreams tree that any static web server can serve by https, and that lxc, incus and poolctl
use as a remote. Without IMAGE all images are published that were not only pulled for an instance, with --public of these those
that are marked so (--public of pull, import and publish; image edit). What is there already is left as it is. The files are
those that the images came as; of one that was pulled they are fetched again, or packed anew, which gives it another fingerprint. So are files that LXD and Incus cannot unpack, such as lz4.

A product is named OS:RELEASE:ARCH:VARIANT by the image's properties, or by its first alias where there is no property os.
An image that was imported or published, and has aliases, but not OS/RELEASE, is a variant by the name of the first. One that
was published with the properties of its instance's image is a variant too, by its fingerprint if it has no alias. Versions
are named by the property serial, or by the time of the image's creation. The aliases of the newest version are the
product's. Containers and virtual machines of one product have these in common, and their versions are counted apart.
The tree is valid at every moment, also while it is written and after a kill.`

func imagePublishMirrorCommand(e *env) *cli.Command {
	o := pool.PublishMirrorOptions{}
	return &cli.Command{
		Name: "publish-mirror", Usage: "write images as a tree that lxc and incus can use as a remote", ArgsUsage: "DIR [IMAGE...]",
		Description: example(publishMirrorHelp, "poolctl image publish-mirror /srv/www/images --public", "poolctl image publish-mirror /srv/www/images web/1 --keep 3"),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep", Usage: "keep only the `N` newest versions of each product, of its containers and of its virtual machines", Destination: &o.Keep, Action: positive, DefaultText: "all"},
			&cli.BoolFlag{Name: "public", Usage: "without IMAGE, only those that are marked public", Destination: &o.Public},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			o.Dir, o.Images = args[0], args[1:]
			if o.Public && len(o.Images) > 0 {
				return badUsage("image publish-mirror", "--public and IMAGE exclude each other")
			}
			update, done := e.progress()
			o.Progress = update
			out, err := s.PublishMirror(ctx, o)
			done(err == nil)
			if err == nil {
				e.say("%d images added, %d were there already, %d versions removed", len(out.Added), len(out.Kept), out.Pruned)
			}
			if err == nil && out.Private > 0 {
				e.say("%d of them are not marked public: --public leaves such out", out.Private)
			}
			return err
		}),
	}
}
