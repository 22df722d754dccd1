package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/remotes"
)

const pullHelp = `Every file and the whole are checked against the hashes of the remote's catalogue. Several images are pulled at
the same time. A pull that was cut or interrupted is gone on with by the next one; what has come in is kept for a week.`

func imagePullCommand(e *env) *cli.Command {
	var aliases, profiles cli.StringSlice
	var o pool.PullOptions
	var format string
	var plan, vm bool
	return &cli.Command{
		Name: "pull", Aliases: []string{"copy", "cp"}, Usage: "bring an image of a remote into a pool", ArgsUsage: "REMOTE:IMAGE... [local:]",
		Description: example(pullHelp,
			"poolctl image pull images:alpine/3.20 --alias alpine", "poolctl image pull images:debian/12 images:alpine/3.20/arm64",
			"poolctl image pull images:debian/12 --plan"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "alias", Usage: "`NAME` to give it; may be repeated", Destination: &aliases},
			&cli.BoolFlag{Name: "copy-aliases", Usage: "give it the remote's aliases too", Destination: &o.CopyAliases},
			&cli.BoolFlag{Name: "auto-update", Usage: "keep it up to date: image refresh --all --auto does it, and its timer (admin systemd)", Destination: &o.AutoUpdate},
			&cli.BoolFlag{Name: "public", Usage: "mark it as one that others may have: see publish-mirror --public", Destination: &o.Public},
			&cli.StringSliceFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`PROFILE` of new instances that name none; may be repeated", Destination: &profiles},
			&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "`POOL` to pull it into", Destination: &o.Pool},
			vmFlag(&vm),
			planFlag(&plan),
			formatFlag(&format, output.YAML),
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("format") && !plan {
				return usagef(c, "--format is for --plan")
			}
			return e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
				refs, err := pullArgs(args)
				if err != nil {
					return err
				}
				o.Aliases, o.Profiles, o.Type = aliases.Value(), profiles.Value(), vmType(vm)
				if len(refs) > 1 { // what is wrong with the pool is told once
					if o.Pool, err = s.TargetPool(o.Pool); err != nil {
						return err
					}
				}
				switch {
				case len(refs) > 1 && len(o.Aliases) > 0:
					return badUsage("image pull", "--alias is for one image, not for %d", len(refs))
				case len(refs) > 1 && plan:
					return badUsage("image pull", "--plan is for one image, not for %d", len(refs))
				case plan:
					return e.printPlan(format, func() (pool.SpacePlan, error) { return s.PlanPull(ctx, refs[0], o) })
				}
				return e.pull(ctx, s, refs, o)
			})(c)
		},
	}
}

// vmType is the type of image that --vm asks for.
func vmType(vm bool) string {
	if vm {
		return remotes.TypeVM
	}
	return ""
}

// pullArgs are the images to pull, without the target, which is the last word if
// that ends in a colon.
func pullArgs(args []string) ([]string, error) {
	last := len(args) - 1
	if last == 0 || !strings.HasSuffix(args[last], ":") {
		return args, nil
	}
	if args[last] != localRemote+":" {
		return nil, badUsage("image pull", "the target can only be %q, not %q", localRemote+":", args[last])
	}
	return args[:last], nil
}

// pull pulls images, several at a time, with a line of progress for each file.
func (e *env) pull(ctx context.Context, s *pool.System, refs []string, o pool.PullOptions) error {
	update, done := e.progress()
	pulled := make(chan pool.Image, len(refs))
	err := eachAtOnce(ctx, refs, func(ctx context.Context, ref string) error {
		o := o
		o.Progress = update
		if len(refs) > 1 {
			o.Progress = func(p pool.Progress) {
				p.Name = ref + " " + p.Name
				update(p)
			}
		}
		im, err := s.PullImage(ctx, ref, o)
		if err == nil {
			pulled <- im
		}
		return err
	})
	done(err == nil)
	close(pulled)
	for im := range pulled {
		e.say("Image %s is in pool %s", im.Fingerprint, im.Pool)
	}
	return err
}
