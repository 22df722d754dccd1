package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func fileCreateCommand(e *env) *cli.Command {
	o := &ownerOptions{}
	var kind string
	var createDirs, force bool
	return &cli.Command{
		Name: "create", Usage: "make an empty file, a directory or a symbolic link in an instance", ArgsUsage: "INSTANCE/PATH [LINK-TARGET]",
		Description: example("Root's, 0644 or 0755, unless given.", "poolctl file create --type directory c1/srv/data --uid 1000", "poolctl file create --type symlink c1/root/log /var/log"),
		Flags: append(o.flags(),
			&cli.StringFlag{Name: "type", Usage: "what to make: `file`, directory or symlink", Value: "file", Destination: &kind},
			&cli.BoolFlag{Name: "create-dirs", Aliases: []string{"p"}, Usage: "make the directories that are missing", Destination: &createDirs},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace a file or link that is there", Destination: &force}),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			owner, err := o.owner("file create")
			if err != nil {
				return err
			}
			g, err := parseGuestPath("file create", args[0])
			if err != nil {
				return err
			}
			if strings.HasSuffix(g.path, "/") && kind == "file" {
				kind = "directory"
			}
			target := optional(args, 1)
			switch {
			case kind != "file" && kind != "directory" && kind != "symlink":
				return badUsage("file create", "unknown type %q: file, directory or symlink", kind)
			case (kind == "symlink") != (target != ""):
				return badUsage("file create", "LINK-TARGET is what a symlink needs, and nothing else")
			}
			return withFiles(ctx, s, "create", g, func(files *pool.Files) error {
				if createDirs {
					if err := parents(files, g.path, owner); err != nil {
						return err
					}
				}
				if _, err := files.Lstat(g.path); err == nil && !force {
					return fs.ErrExist
				} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				switch kind {
				case "directory":
					return files.Mkdir(g.path, owner)
				case "symlink":
					return files.Symlink(target, g.path, owner)
				}
				return files.Write(ctx, g.path, strings.NewReader(""), 0, owner)
			})
		}),
	}
}
