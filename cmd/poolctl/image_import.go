package main

import (
	"context"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

const imageImportHelp = `Each of the files is a path, an https URL, or "-" for standard input: the metadata (with metadata.yaml in it) and the root
of a split image, in any order, or a unified image alone. Archives may be plain or compressed by gzip, xz, zstd, bzip2, lz4
or lzma; a root may be a squashfs. A directory holds either such files or metadata.yaml and rootfs/. The pool keeps the files
as they are, so that export gives the same bytes. Of a URL that answers with the headers Incus-Image-URL and
Incus-Image-Hash, the image is at the former and has the latter as its fingerprint.

key=value sets a property beside those in metadata.yaml.`

// newImageFlags are the flags of commands that make an image here.
func newImageFlags(o *pool.NewImageOptions, aliases *cli.StringSlice) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "alias", Usage: "`NAME` to give it; may be repeated", Destination: aliases},
		&cli.BoolFlag{Name: "public", Usage: "mark it as public", Destination: &o.Public},
		&cli.BoolFlag{Name: "reuse", Usage: "take the aliases away from the images that have them, and delete those that have no other", Destination: &o.Reuse},
	}
}

func imageImportCommand(e *env) *cli.Command {
	o := pool.ImportImageOptions{}
	var aliases cli.StringSlice
	return &cli.Command{
		Name: "import", Usage: "make an image of files", ArgsUsage: "FILE|DIRECTORY|URL [ROOTFS-FILE] [local:] [key=value...]",
		Description: example(imageImportHelp, "poolctl image import incus.tar.xz rootfs.squashfs --alias mine",
			"poolctl image import https://example.org/image.tar.xz --alias theirs os=Example"),
		Flags: append(newImageFlags(&o.NewImageOptions, &aliases),
			&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "`POOL` to import it into", Destination: &o.Pool}),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			files, properties, err := imageImportArgs(args)
			if err != nil {
				return err
			}
			o.Files, o.Properties, o.Aliases, o.Stdin = files, properties, aliases.Value(), e.stdin
			update, done := e.progress()
			o.Progress = update
			im, err := s.ImportImage(ctx, o)
			done(err == nil)
			if err != nil {
				return err
			}
			e.say("Image imported with fingerprint: %s", im.Fingerprint)
			return nil
		}),
	}
}

// imageImportArgs sorts the arguments as incus does: what has a "=" and is no file
// is a property, what ends in ":" the remote, and the rest are files.
func imageImportArgs(args []string) (files []string, properties map[string]string, err error) {
	const command = "image import"
	var pairs []string
	for _, a := range args {
		_, serr := os.Lstat(a)
		switch {
		case isPair(a) && serr != nil && !strings.HasPrefix(a, "https://"):
			pairs = append(pairs, a)
		case strings.HasSuffix(a, ":") && serr != nil:
			if a != localRemote+":" {
				return nil, nil, badUsage(command, "the target can only be %q, not %q", localRemote+":", a)
			}
		default:
			files = append(files, a)
		}
	}
	if len(files) < 1 || len(files) > 2 {
		return nil, nil, badUsage(command, "one or two files are needed, not %d", len(files))
	}
	properties, err = keyValues(command, pairs)
	return files, properties, err
}
