package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func fileDeleteCommand(e *env) *cli.Command {
	var force bool
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete files of instances", ArgsUsage: "INSTANCE/PATH...",
		Description: example("A symbolic link itself is deleted, not what it leads to; a directory when it is empty, or with --force.", "poolctl file delete c1/etc/motd", "poolctl file delete --force c1/var/cache/app"),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f", "recursive", "r"}, Usage: "delete directories with all that is in them", Destination: &force}},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			if err := checkGuestPaths("file delete", args); err != nil {
				return err
			}
			return each(ctx, args, func(ctx context.Context, word string) error {
				g := guestPathOf(word)
				return withFiles(ctx, s, "delete", g, func(files *pool.Files) error {
					return files.Delete(g.path, force)
				})
			})
		}),
	}
}
