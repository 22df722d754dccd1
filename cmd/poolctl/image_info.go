package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
	"poolctl/remotes"
)

func imageInfoCommand(e *env) *cli.Command {
	var format string
	var vm bool
	return &cli.Command{
		Name: "info", Usage: "show what is known of an image", ArgsUsage: "[REMOTE:]IMAGE",
		Description: example("", "poolctl image info images:alpine/3.20", "poolctl image info images:debian/12 --vm"),
		Flags:       []cli.Flag{textFormatFlag(&format), vmFlag(&vm)},
		Action: e.action(1, 1, func(ctx context.Context, s *pool.System, args []string) error {
			v, err := findImage(ctx, s, args[0], vm)
			if err != nil {
				return err
			}
			if format == "" {
				return e.printf("%s", table.Clean(imageText(v)))
			}
			return output.Value(e.stdout, format, v)
		}),
	}
}

// textFormatFlag is --format of a command that writes text unless it is given.
func textFormatFlag(format *string) cli.Flag {
	f := formatFlag(format, "").(*cli.StringFlag) //nolint:errcheck,forcetypeassert // formatFlag makes one
	f.DefaultText = "text"
	return f
}

// vmFlag is --vm of commands that look at an image.
func vmFlag(vm *bool) cli.Flag {
	return &cli.BoolFlag{Name: "vm", Usage: "the image of a virtual machine, where the remote has both", Destination: vm}
}

// findImage finds [REMOTE:]IMAGE, and with vm only that of a virtual machine.
func findImage(ctx context.Context, s *pool.System, ref string, vm bool) (imageView, error) {
	remote, _, named := strings.Cut(ref, ":")
	if !named {
		var err error
		if remote, err = s.DefaultRemote(); err != nil {
			return imageView{}, err
		}
	}
	if remote != localRemote {
		im, err := s.RemoteImage(ctx, ref, vmType(vm))
		return remoteImageView(im), err
	}
	im, err := s.Image(ctx, ref)
	if err == nil && vm && im.Type != remotes.TypeVM {
		err = fmt.Errorf("cannot find image %q of a virtual machine: it is that of a %s", ref, im.Type)
	}
	return localImageView(im), err
}

// imageText is `image info` as lxc writes it.
func imageText(v imageView) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Fingerprint: %s", v.Fingerprint)
	line("Size: %s", mebibytes(v.Size))
	if v.VirtualSize > 0 {
		line("Virtual size: %s", mebibytes(v.VirtualSize))
	}
	line("Architecture: %s", v.Architecture)
	line("Type: %s", v.Type)
	line("Public: %s", strings.ToLower(yesNo(v.Public)))
	line("Timestamps:")
	if isSet(v.CreatedAt) {
		line("    Created: %s", minute(v.CreatedAt.UTC()))
	}
	line("    Uploaded: %s", minute(v.UploadedAt.UTC()))
	line("    Expires: %s", orNever(v.ExpiresAt))
	line("    Last used: %s", orNever(v.LastUsedAt))
	line("Properties:")
	for _, k := range slices.Sorted(maps.Keys(v.Properties)) {
		line("    %s: %s", k, v.Properties[k])
	}
	line("Aliases:")
	for _, a := range v.Aliases {
		if a.Description != "" {
			line("    - %s (%s)", a.Name, a.Description)
			continue
		}
		line("    - %s", a.Name)
	}
	line("Cached: %s", strings.ToLower(yesNo(v.Cached)))
	line("Auto update: %s", map[bool]string{true: "enabled", false: "disabled"}[v.AutoUpdate])
	if v.UpdateSource != nil {
		line("Source:\n    Server: %s\n    Protocol: %s\n    Alias: %s", v.UpdateSource.Server, v.UpdateSource.Protocol, v.UpdateSource.Alias)
		for _, key := range v.UpdateSource.SignedBy {
			line("    Signed by: %s", key)
		}
	}
	if len(v.Profiles) == 0 {
		line("Profiles: []")
	} else {
		line("Profiles:\n    - %s", strings.Join(v.Profiles, "\n    - "))
	}
	if v.Pool != "" {
		line("Pool: %s", v.Pool)
	}
	return b.String()
}

// isSet says whether a time is known: neither Go's zero time nor the epoch.
func isSet(t time.Time) bool { return !t.IsZero() && t.Unix() > 0 }

// minute is how lxc writes a time.
func minute(t time.Time) string { return t.Format("2006/01/02 15:04 MST") }

func orNever(t time.Time) string {
	if !isSet(t) {
		return "never"
	}
	return minute(t.UTC())
}
