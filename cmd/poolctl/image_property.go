package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"poolctl/pool"
)

func imageGetPropertyCommand(e *env) *cli.Command {
	var vm bool
	return &cli.Command{
		Name: "get-property", Usage: "show one property of an image", ArgsUsage: "[REMOTE:]IMAGE KEY",
		Description: example("", "poolctl image get-property alpine os"),
		Flags:       []cli.Flag{vmFlag(&vm)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			v, err := findImage(ctx, s, args[0], vm)
			if err != nil {
				return err
			}
			value, ok := v.Properties[args[1]]
			if !ok {
				return fmt.Errorf("cannot show property %s of image %s: %w", args[1], args[0], pool.ErrNotFound)
			}
			return e.printf("%s\n", value)
		}),
	}
}

func imageSetPropertyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "set-property", Usage: "set a property of an image", ArgsUsage: "IMAGE KEY VALUE",
		Description: example("Instances that are made from it have it as image.KEY. Newer versions that `image refresh` brings keep it.",
			"poolctl image set-property alpine description \"for the web servers\""),
		Action: e.action(3, 3, func(ctx context.Context, s *pool.System, args []string) error {
			return setProperty(ctx, s, args[0], args[1], args[2])
		}),
	}
}

func imageUnsetPropertyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "unset-property", Usage: "remove a property of an image", ArgsUsage: "IMAGE KEY",
		Description: example("", "poolctl image unset-property alpine variant"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return setProperty(ctx, s, args[0], args[1], "")
		}),
	}
}

// setProperty sets a property, or removes it with "".
func setProperty(ctx context.Context, s *pool.System, ref, key, value string) error {
	return s.UpdateImage(ctx, ref, func(put *pool.ImagePut) error {
		put.Properties[key] = value
		return nil
	})
}
