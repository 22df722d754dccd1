package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

// createOptions are the flags that create and launch share.
type createOptions struct {
	storage, network, description string
	template                      string
	config, profiles, devices     cli.StringSlice
	noProfiles, ephemeral, empty  bool
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
		&cli.BoolFlag{Name: "empty", Usage: "the same as --template none", Destination: &o.empty},
		&cli.BoolFlag{Name: "no-profiles", Usage: "apply no profile", Destination: &o.noProfiles},
		&cli.BoolFlag{Name: "ephemeral", Aliases: []string{"e"}, Usage: "delete it when it stops", Destination: &o.ephemeral},
		&cli.StringFlag{Name: "description", Usage: "`TEXT` about the instance", Destination: &o.description},
	}
}

// action is e.action for IMAGE [NAME], which is [NAME] with a template.
func (o *createOptions) action(e *env, run func(ctx context.Context, s *pool.System, args []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		switch {
		case o.empty && o.template != "":
			return badUsage(c.Command.Name, "--empty and --template exclude each other")
		case o.empty:
			o.template = pool.EmptyTemplate
		case o.template == "":
			return e.action(1, 2, run)(c)
		}
		return e.action(0, 1, run)(c)
	}
}

// options puts the flags, what a file on the input says, and IMAGE [NAME]
// together, or [NAME] with a template; command is named in errors. Flags go before
// the file.
func (o *createOptions) options(command string, stdin *os.File, args []string) (pool.CreateOptions, error) {
	config, err := keyValues(command, o.config.Value())
	if err != nil {
		return pool.CreateOptions{}, err
	}
	devices, err := deviceOverrides(command, o.devices.Value())
	if err != nil {
		return pool.CreateOptions{}, err
	}
	if o.noProfiles && len(o.profiles.Value()) > 0 {
		return pool.CreateOptions{}, badUsage(command, "--profile and --no-profiles exclude each other")
	}
	put, err := putOnInput(stdin)
	if err != nil {
		return pool.CreateOptions{}, fmt.Errorf("cannot create an instance of what is on the input: %w", err)
	}
	out := pool.CreateOptions{
		DeviceOverrides: devices, Template: o.template, Devices: put.Devices,
		Pool: o.storage, Network: o.network, Config: merged(put.Config, config),
		Description: put.Description, Ephemeral: o.ephemeral || put.Ephemeral, Profiles: put.Profiles,
	}
	if o.template == "" {
		out.Image, args = args[0], args[1:]
	}
	out.Name = optional(args, 0)
	for _, dev := range put.Devices {
		if out.Pool == "" && dev["type"] == "disk" && dev["path"] == "/" {
			out.Pool = dev["pool"]
		}
	}
	if o.description != "" {
		out.Description = o.description
	}
	switch {
	case o.noProfiles:
		out.Profiles = []string{}
	case len(o.profiles.Value()) > 0:
		out.Profiles = o.profiles.Value()
	}
	return out, nil
}

func createCommand(e *env) *cli.Command {
	o := &createOptions{}
	return &cli.Command{
		Name: "create", Aliases: []string{"init"}, Category: catInstances, Usage: "create an instance from an image", ArgsUsage: "{[REMOTE:]IMAGE | --template TEMPLATE} [NAME]",
		Description: example("An image of a remote is pulled if it is not in the pool yet. With --template there is no image: busybox is a small system\n"+
			"of the host's static busybox with a login on the console, none an empty root. "+inputHelp, "poolctl create images:alpine/3.20 c1", "poolctl create --template busybox bb", "poolctl create images:alpine/3.20 c2 < c2.yaml"),
		Flags: o.flags(),
		Action: o.action(e, func(ctx context.Context, s *pool.System, args []string) error {
			opts, err := o.options("create", e.stdin, args)
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
