package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/remotes"
)

func imagePullCommand(e *env) *cli.Command {
	var aliases, profiles cli.StringSlice
	var o pool.PullOptions
	var format string
	var plan, vm bool
	return &cli.Command{
		Name: "pull", Aliases: []string{"copy", "cp"}, Usage: "bring an image of a remote into a pool", ArgsUsage: "REMOTE:IMAGE [local:]",
		Description: example("Every file and the whole are checked against the hashes of the remote's catalogue.",
			"poolctl image pull images:alpine/3.20 --alias alpine", "poolctl image pull images:debian/12 --plan"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "alias", Usage: "`NAME` to give it; may be repeated", Destination: &aliases},
			&cli.BoolFlag{Name: "copy-aliases", Usage: "give it the remote's aliases too", Destination: &o.CopyAliases},
			&cli.BoolFlag{Name: "auto-update", Usage: "keep it up to date: image refresh --all --auto does it, and its timer (admin systemd)", Destination: &o.AutoUpdate},
			&cli.BoolFlag{Name: "public", Usage: "mark it as one that others may have", Destination: &o.Public},
			&cli.StringSliceFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`PROFILE` of new instances that name none; may be repeated", Destination: &profiles},
			&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "`POOL` to pull it into", Destination: &o.Pool},
			&cli.BoolFlag{Name: "vm", Usage: "the image of a virtual machine, where the remote has both", Destination: &vm},
			planFlag(&plan),
			formatFlag(&format, output.YAML),
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if to := optional(args, 1); to != "" && to != localRemote+":" {
				return badUsage("image pull", "the target can only be %q, not %q", localRemote+":", to)
			}
			o.Aliases, o.Profiles, o.Type = aliases.Value(), profiles.Value(), vmType(vm)
			if plan {
				return e.printPlan(format, func() (pool.SpacePlan, error) { return s.PlanPull(ctx, args[0], o) })
			}
			update, done := e.progress()
			o.Progress = update
			im, err := s.PullImage(ctx, args[0], o)
			done(err == nil)
			if err != nil {
				return err
			}
			e.say("Image %s is in pool %s", im.Fingerprint, im.Pool)
			return nil
		}),
	}
}

// vmType is the type of image that --vm asks for.
func vmType(vm bool) string {
	if vm {
		return remotes.TypeVM
	}
	return ""
}
