package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func fileMountCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "mount the files of an instance at a directory, writable", ArgsUsage: "INSTANCE[/PATH] [DIR]",
		Description: example("Owners are those seen inside. The instance may run; what is mounted inside (/run, disks) is not shown. Without DIR a\n"+
			"directory is made and its path printed. It stays until: poolctl umount DIR", "poolctl file mount c1 /mnt", "poolctl file mount c1/var/www site"),
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			word := args[0]
			g, err := parseGuestPath("file mount", word)
			if err != nil { // the whole root
				g, err = parseGuestPath("file mount", word+"/")
			}
			if err != nil {
				return err
			}
			where, err := s.MountFiles(ctx, g.instance, g.path, optional(args, 1))
			if err != nil {
				return err
			}
			return e.printMount(where, args)
		}),
	}
}
