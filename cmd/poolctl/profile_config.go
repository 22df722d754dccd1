package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func profileGetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "get", Usage: "print a key of a profile's configuration", ArgsUsage: "PROFILE KEY", Description: example("", "poolctl profile get default user.owner"),
		Flags: []cli.Flag{propertyFlag(&property, "KEY is a property: description, name")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if property {
				p, err := s.Profile(ctx, args[0])
				if err != nil {
					return err
				}
				switch args[1] {
				case "description":
					return e.printf("%s\n", p.Description)
				case "name":
					return e.printf("%s\n", p.Name)
				}
				return badUsage("profile get", "unknown property %q: the properties are description and name", args[1])
			}
			value, err := s.ProfileValue(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return e.printf("%s\n", value)
		}),
	}
}

func profileSetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "set", Usage: "change keys of a profile's configuration", ArgsUsage: "PROFILE KEY=VALUE...",
		Description: example("All instances that use the profile have the change at once, those that run too; where one of them cannot take it,\n"+
			"nothing is changed. KEY VALUE works too, and the value - is read from the input.",
			"poolctl profile set default user.owner=ann", `poolctl profile set -p web description="web servers"`),
		Flags: []cli.Flag{propertyFlag(&property, "KEY is a property: description")},
		Action: e.action(2, many, func(ctx context.Context, s *pool.System, args []string) error {
			values, err := e.setPairs("profile set", args[1:])
			if err != nil {
				return err
			}
			return setProfile(ctx, s, args[0], "profile set", values, property)
		}),
	}
}

func profileUnsetCommand(e *env) *cli.Command {
	var property bool
	return &cli.Command{
		Name: "unset", Usage: "unset a key of a profile's configuration", ArgsUsage: "PROFILE KEY", Description: example("", "poolctl profile unset default user.owner"),
		Flags: []cli.Flag{propertyFlag(&property, "KEY is a property: description")},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return setProfile(ctx, s, args[0], "profile unset", map[string]string{args[1]: ""}, property)
		}),
	}
}

// setProfile changes keys, or properties, of a profile; "" unsets one.
func setProfile(ctx context.Context, s *pool.System, name, command string, values map[string]string, property bool) error {
	return s.UpdateProfile(ctx, name, func(put *pool.ProfilePut) error {
		return putKeys(command, values, property, put.Config, &put.Description)
	})
}

// profileEditHelp is what the user finds above the text.
const profileEditHelp = `### This is a YAML representation of the profile.
### Any line starting with a '#' will be ignored.
###
### A profile consists of a set of configuration items followed by a set of devices:
###
### config:
###   user.owner: ann
### description: ""
### devices:
###   eth0:
###     type: nic
###     network: poolbr0
###
### The name is shown but cannot be changed.

`

func profileEditCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "edit", Usage: "change a profile as YAML, in an editor or from the input", ArgsUsage: "PROFILE",
		Description: example("The editor is $VISUAL or $EDITOR. On the input, what `profile show` prints is taken too.",
			"poolctl profile edit default", "poolctl profile edit default < default.yaml"),
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			was, err := s.Profile(ctx, args[0])
			if err != nil {
				return err
			}
			return e.edit(ctx, profileEditHelp, was, func(edited []byte) error {
				now, err := readProfile(edited)
				if err != nil {
					return fmt.Errorf("cannot change profile %s: %w", args[0], err)
				}
				return s.ReplaceProfile(ctx, args[0], was.Put(), now)
			})
		}),
	}
}

// readProfile reads the YAML of a profile. What else incus prints of one may be in
// it, and nothing more.
func readProfile(text []byte) (pool.ProfilePut, error) {
	var file struct {
		pool.ProfilePut `yaml:",inline"`
		Name            string   `yaml:"name"`
		UsedBy          []string `yaml:"used_by"`
		Project         string   `yaml:"project"`
	}
	err := decodeEdited(text, &file, "config", "description", "devices", "name", "used_by", "project")
	return file.ProfilePut, err
}
