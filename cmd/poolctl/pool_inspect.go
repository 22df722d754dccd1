package main

import (
	"context"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func poolInspectCommand(e *env) *cli.Command {
	var format string
	return &cli.Command{
		Name: "inspect", Usage: "list what is in a pool's file, or look into an instance of it; nothing is changed", ArgsUsage: "FILE [NAME[/SNAPSHOT] [DIR]]",
		Description: example("FILE is a pool's image file, block device or subvolume, of poolctl, LXD or Incus. Not one byte of it is changed.\n"+
			"With NAME the root of that instance is shown at DIR, read-only, until `poolctl umount DIR`; without DIR a directory is made and its path printed.",
			"poolctl pool inspect /var/lib/lxd/disks/default.img", "poolctl pool inspect default.img c1/before-upgrade /mnt"),
		Flags: []cli.Flag{formatFlag(&format, output.Table)},
		Action: e.action(1, 3, func(ctx context.Context, s *pool.System, args []string) error {
			if len(args) > 1 {
				where, err := s.InspectMount(ctx, args[0], args[1], optional(args, 2))
				if err != nil {
					return err
				}
				return e.printMount(where, args[1:])
			}
			in, err := s.Inspect(ctx, args[0])
			if err != nil {
				return err
			}
			return inspectionList(in).Write(e.stdout, format)
		}),
	}
}

// inspectionList is a row for the pool, and one for each thing in it; as JSON and
// YAML it is the whole inspection.
func inspectionList(in pool.Inspection) output.List {
	l := output.List{Header: []string{"TYPE", "NAME", "CREATED AT", "DETAILS"}, Values: in}
	row := func(kind, name string, at time.Time, details ...string) {
		created := ""
		if isSet(at) {
			created = minute(at.Local())
		}
		var said []string
		for _, d := range details {
			if d != "" {
				said = append(said, d)
			}
		}
		l.Rows = append(l.Rows, []string{kind, name, created, strings.Join(said, ", ")})
	}
	here := ""
	if in.Pool != "" {
		here = "pool " + in.Pool + " here"
	}
	row("pool", in.Name, time.Time{}, "of "+in.Origin, output.IEC(in.Used)+" of "+output.IEC(in.Size)+" used", "UUID "+in.UUID, here)
	snapshots := func(kind, name string, all []pool.Snapshot) {
		for _, s := range all {
			row(kind+" (snapshot)", name+"/"+s.Name, s.CreatedAt)
		}
	}
	for _, i := range in.Instances {
		row(i.Type, i.Name, i.CreatedAt, i.Description, i.Config["image.description"], i.Problem)
		snapshots(i.Type, i.Name, i.Snapshots)
	}
	for _, im := range in.Images {
		row("image", im.Fingerprint[:12], im.UploadedAt, im.Properties["description"])
	}
	for _, v := range in.Volumes {
		project := ""
		if v.Project != "default" {
			project = "of project " + v.Project
		}
		row("custom", v.Name, v.CreatedAt, v.Description, project)
		snapshots("custom", v.Name, v.Snapshots)
	}
	for _, path := range in.Leftovers {
		row("leftover", path, time.Time{}, "of an operation that did not end; ignored")
	}
	return l
}
