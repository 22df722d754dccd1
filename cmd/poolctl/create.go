package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// createOptions are the flags that create and launch share.
type createOptions struct {
	storage, network, description string
	template                      string
	config, profiles, devices     cli.StringSlice
	noProfiles, ephemeral         bool
}

func (o *createOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "storage", Aliases: []string{"s"}, Usage: "`POOL` to create it in", Destination: &o.storage},
		&cli.StringFlag{Name: "network", Aliases: []string{"n"}, Usage: "`NETWORK` to put its eth0 on", Destination: &o.network},
		&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}, Usage: "`KEY=VALUE` of its configuration; may be repeated", Destination: &o.config},
		&cli.StringSliceFlag{Name: "device", Aliases: []string{"d"}, Usage: "`DEVICE,KEY=VALUE` of a device of its or its profiles', as root,size=10GiB; may be repeated", Destination: &o.devices},
		&cli.StringSliceFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`PROFILE` to apply instead of default; may be repeated", Destination: &o.profiles},
		&cli.StringFlag{
			Name: "template", Destination: &o.template,
			Usage: "`TEMPLATE` that makes its root in the place of an image: " + strings.Join(pool.Templates(), ", "),
		},
		&cli.BoolFlag{Name: "no-profiles", Usage: "apply no profile", Destination: &o.noProfiles},
		&cli.BoolFlag{Name: "ephemeral", Aliases: []string{"e"}, Usage: "delete it when it stops", Destination: &o.ephemeral},
		&cli.StringFlag{Name: "description", Usage: "`TEXT` about the instance", Destination: &o.description},
	}
}

// action is e.action for IMAGE [NAME], which is [NAME] with a template.
func (o *createOptions) action(e *env, run func(ctx context.Context, s *pool.System, args []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if o.template == "" {
			return e.action(1, 2, run)(c)
		}
		return e.action(0, 1, run)(c)
	}
}

// options puts the flags and IMAGE [NAME] together, or [NAME] with a template;
// command is named in errors.
func (o *createOptions) options(command string, args []string) (pool.CreateOptions, error) {
	config, err := keyValues(command, o.config.Value())
	if err != nil {
		return pool.CreateOptions{}, err
	}
	devices, err := deviceOverrides(command, o.devices.Value())
	if err != nil {
		return pool.CreateOptions{}, err
	}
	out := pool.CreateOptions{
		DeviceOverrides: devices, Template: o.template,
		Pool: o.storage, Network: o.network, Config: config,
		Description: o.description, Ephemeral: o.ephemeral, Profiles: o.profiles.Value(),
	}
	if o.template == "" {
		out.Image, args = args[0], args[1:]
	}
	out.Name = optional(args, 0)
	switch {
	case o.noProfiles && len(out.Profiles) > 0:
		return out, badUsage(command, "--profile and --no-profiles exclude each other")
	case o.noProfiles:
		out.Profiles = []string{}
	case len(out.Profiles) == 0:
		out.Profiles = nil
	}
	return out, nil
}

func createCommand(e *env) *cli.Command {
	o := &createOptions{}
	return &cli.Command{
		Name: "create", Aliases: []string{"init"}, Category: catInstances, Usage: "create an instance from an image", ArgsUsage: "{[REMOTE:]IMAGE | --template TEMPLATE} [NAME]",
		Description: example("An image of a remote is pulled if it is not in the pool yet. With --template there is no image: busybox is a small system\n"+
			"of the host's static busybox with a login on the console, none an empty root.", "poolctl create images:alpine/3.20 c1", "poolctl create --template busybox bb"),
		Flags: o.flags(),
		Action: o.action(e, func(ctx context.Context, s *pool.System, args []string) error {
			opts, err := o.options("create", args)
			if err != nil {
				return err
			}
			e.say("Creating %s", nameOr(opts.Name, "the instance"))
			_, err = e.create(ctx, s, opts)
			return err
		}),
	}
}

// create creates an instance with its progress shown, and prints a name that
// the user did not choose.
func (e *env) create(ctx context.Context, s *pool.System, o pool.CreateOptions) (string, error) {
	update, done := e.progress()
	o.Progress = update
	name, err := s.Create(ctx, o)
	done(err == nil)
	if err == nil && o.Name == "" {
		err = e.printf("Instance name is: %s\n", name)
	}
	return name, err
}

func nameOr(name, other string) string {
	if name == "" {
		return other
	}
	return name
}
