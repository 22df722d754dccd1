package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func undeleteCommand(e *env) *cli.Command {
	var storage, kind, format string
	return &cli.Command{
		Name: "undelete", Category: catSnapshots, Usage: "bring back what was deleted", ArgsUsage: "[NAME[/SNAPSHOT] [NEWNAME]]",
		Description: example(`NAME is an instance, a custom volume, or an image by an alias or the beginning of its fingerprint.
It comes back as it was: its configuration, snapshots, size, expiry and aliases. Of several that
had the name, the one that was deleted last comes back. When the name is taken by now, give it
another one; an alias, or a hardware address, that is another's by now stays with that. A snapshot
comes back to the instance or volume that it was of, or with NEWNAME of the form NAME/SNAPSHOT to
another one in its pool. Without NAME, what can be brought back is listed.

What is deleted is kept for as long as the pool's key trash.expiry says: 7d unless that is set to
another span, to never (until its room is needed), or to off, which has no trash. A pool that runs
out of room deletes what has been in its trash for longest, and says so. --now of the commands that
delete does not use the trash.`, "poolctl undelete c1", "poolctl undelete c1 c1-old", "poolctl undelete c1/before-upgrade"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pool", Aliases: []string{"s"}, Usage: "the one that is in `POOL`", Destination: &storage},
			&cli.StringFlag{Name: "type", Usage: "the one of that `TYPE`: container, image or volume", Destination: &kind},
			formatFlag(&format, output.Table),
		},
		Action: e.action(0, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if len(args) == 0 {
				return e.listTrash(ctx, s, pool.TrashQuery{Pool: storage, Type: kind}, format)
			}
			it, err := s.Undelete(ctx, pool.UndeleteOptions{Name: args[0], NewName: optional(args, 1), Pool: storage, Type: kind})
			if err == nil && optional(args, 1) != "" {
				e.say("%s is back as %s", trashedName(it), args[1])
			} else if err == nil {
				e.say("%s is back", trashedName(it))
			}
			return err
		}),
	}
}
