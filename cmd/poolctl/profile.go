package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func profileCommands(e *env) *cli.Command {
	return group("profile", nil, catInstances, "manage what instances have in common",
		profileListCommand(e), profileShowCommand(e), profileCreateCommand(e), profileCopyCommand(e), profileRenameCommand(e),
		profileDeleteCommand(e), profileAddCommand(e), profileRemoveCommand(e), profileAssignCommand(e),
		profileGetCommand(e), profileSetCommand(e), profileUnsetCommand(e), profileEditCommand(e),
		profileDeviceCommands(e))
}

func profileListCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the profiles", Description: example("", "poolctl profile list"),
		Flags: []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error {
			all, err := s.Profiles(ctx)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, p := range all {
				rows = append(rows, []string{p.Name, p.Description, fmt.Sprint(len(p.UsedBy))})
			}
			return output.List{Header: []string{"NAME", "DESCRIPTION", "USED BY"}, Rows: rows, Values: orEmpty(all)}.Write(e.stdout, format)
		}),
	}
}

func profileShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a profile", ArgsUsage: "PROFILE", Description: example("", "poolctl profile show default"),
		Flags: []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			p, err := s.Profile(ctx, args[0])
			if err != nil {
				return err
			}
			return output.Value(e.stdout, format, p)
		}),
	}
}

func profileCreateCommand(e *env) *cli.Command {
	var description string
	return &cli.Command{
		Name: "create", Usage: "make a profile", ArgsUsage: "PROFILE",
		Description: example("What it says may be on the input, as YAML like that of `profile show`.", "poolctl profile create web", "poolctl profile create web < web.yaml"),
		Flags:       []cli.Flag{&cli.StringFlag{Name: "description", Usage: "`TEXT` about the profile", Destination: &description}},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			var put pool.ProfilePut
			if !term.IsTerminal(int(e.stdin.Fd())) {
				text, err := io.ReadAll(io.LimitReader(e.stdin, maxValue+1))
				if err == nil && len(text) > maxValue {
					err = fmt.Errorf("it is larger than %d bytes", maxValue)
				}
				if err == nil && len(strings.TrimSpace(string(text))) > 0 {
					put, err = readProfile(text)
				}
				if err != nil {
					return fmt.Errorf("cannot create profile %s of what is on the input: %w", args[0], err)
				}
			}
			if description != "" {
				put.Description = description
			}
			if err := s.CreateProfile(ctx, args[0], put); err != nil {
				return err
			}
			e.say("Profile %s created", args[0])
			return nil
		}),
	}
}

func profileCopyCommand(e *env) *cli.Command {
	var refresh bool
	return &cli.Command{
		Name: "copy", Aliases: []string{"cp"}, Usage: "make a profile that says what another one says", ArgsUsage: "PROFILE NEW",
		Description: example("", "poolctl profile copy default web"),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "refresh", Usage: "change NEW to that if it is there already", Destination: &refresh}},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.CopyProfile(ctx, args[0], args[1], refresh)
		}),
	}
}

func profileRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "rename a profile", ArgsUsage: "PROFILE NEW", Description: example("Instances that use it follow.", "poolctl profile rename web www"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.RenameProfile(ctx, args[0], args[1]); err != nil {
				return err
			}
			e.say("Profile %s renamed to %s", args[0], args[1])
			return nil
		}),
	}
}

func profileDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm"}, Usage: "delete profiles that no instance uses", ArgsUsage: "PROFILE...",
		Description: example("", "poolctl profile delete web"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, func(ctx context.Context, name string) error {
				err := s.DeleteProfile(ctx, name)
				if err == nil {
					e.say("Profile %s deleted", name)
				}
				return err
			})
		}),
	}
}

func profileAddCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "let an instance use a profile, after those that it uses", ArgsUsage: "NAME PROFILE",
		Description: example("The keys and devices of later profiles go before those of earlier ones, and the instance's own before all.", "poolctl profile add c1 web"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.AddProfile(ctx, args[0], args[1]); err != nil {
				return err
			}
			e.say("Profile %s added to %s", args[1], args[0])
			return nil
		}),
	}
}

func profileRemoveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "take a profile from an instance", ArgsUsage: "NAME PROFILE", Description: example("", "poolctl profile remove c1 web"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if err := s.RemoveProfile(ctx, args[0], args[1]); err != nil {
				return err
			}
			e.say("Profile %s removed from %s", args[1], args[0])
			return nil
		}),
	}
}

func profileAssignCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "assign", Aliases: []string{"apply"}, Usage: "say which profiles an instance uses, in their order", ArgsUsage: "NAME PROFILE,...",
		Description: example("", "poolctl profile assign c1 default,web", "poolctl profile assign c1 ''"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			profiles := []string{}
			if args[1] != "" {
				profiles = strings.Split(args[1], ",")
			}
			if err := s.AssignProfiles(ctx, args[0], profiles); err != nil {
				return err
			}
			e.say("Profiles %s applied to %s", nameOr(args[1], "(none)"), args[0])
			return nil
		}),
	}
}
