package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

func volumeShowCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "show", Usage: "show a volume's configuration and what uses it", ArgsUsage: "POOL [TYPE/]VOLUME[/SNAPSHOT]",
		Description: example("TYPE is custom, container, image or virtual-machine.", "poolctl pool volume show default data", "poolctl pool volume show default data/snap0"),
		Flags:       []cli.Flag{formatFlag(&format, output.YAML)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			volume, snapshot := volumeSnapshotRef(args[1])
			if snapshot != "" && !slices.Contains([]string{"container", "image", "virtual-machine"}, volume) {
				sn, err := s.VolumeSnapshot(ctx, args[0], volume, snapshot)
				if err != nil {
					return err
				}
				return output.Value(e.stdout, format, sn)
			}
			v, err := s.Volume(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			slices.Sort(v.UsedBy) // as lxc does
			return output.Value(e.stdout, format, v)
		}),
	}
}

func volumeInfoCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "info", Usage: "show what a custom volume takes, and its snapshots", ArgsUsage: "POOL VOLUME",
		Description: example("", "poolctl pool volume info default data"),
		Flags:       []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			info, err := s.VolumeInfo(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			if output.Base(format) == output.Table {
				return e.printf("%s", volumeText(info))
			}
			return output.Value(e.stdout, format, info)
		}),
	}
}

// volumeText is `info` as incus writes it.
func volumeText(v pool.VolumeInfo) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Name: %s", v.Name)
	if v.Description != "" {
		line("Description: %s", table.Clean(v.Description))
	}
	line("Type: %s", v.Type)
	line("Content type: %s", v.ContentType)
	line("Usage: %s", output.IEC(int64(v.Used))) //nolint:gosec // no disk has 8 EiB
	if v.Total > 0 {
		line("Total: %s", output.IEC(v.Total))
	}
	if isSet(v.CreatedAt) {
		line("Created: %s", minute(v.CreatedAt.Local()))
	}
	if len(v.Snapshots) > 0 {
		line("\nSnapshots:")
		_ = table.Write(&b, volumeSnapshotHeader(), volumeSnapshotRows(v.Snapshots)) // a strings.Builder takes everything
	}
	return b.String()
}
