package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func diffCommand(e *env) *cli.Command {
	var format string
	var stat bool
	return &cli.Command{
		Name: "diff", Category: catSnapshots, Usage: "list what differs between snapshots, or a snapshot and an instance", ArgsUsage: "NAME[/SNAPSHOT] [[NAME/]SNAPSHOT|NAME]",
		Description: example("With one argument, NAME/SNAPSHOT is compared with NAME as it is now, running or not. A second argument without a\n"+
			"slash is a snapshot of NAME, or, where there is none of that name, another instance.\n"+
			"No file is read: the metadata of the file system tell what was added, removed, renamed, modified (content or type) or\n"+
			"changed (mode, owner, xattrs, flags). A file that was written with what was in it is modified; times alone are no\n"+
			"difference. Of instances that do not come from the same image or instance, files of the same size and time of\n"+
			"modification count as the same, and a notice says how many. Names with odd bytes are quoted.",
			"poolctl diff c1/snap0", "poolctl diff c1/monday c1/tuesday", "poolctl diff c1/monday tuesday --stat", "poolctl diff c1 c2 -f json"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.BoolFlag{Name: "stat", Usage: "count paths and bytes only", Destination: &stat},
		},
		Action: e.action(1, 2, func(ctx context.Context, s *pool.System, args []string) error {
			if len(args) == 1 && !strings.Contains(args[0], "/") {
				return badUsage("diff", "what is %s to be compared with? NAME/SNAPSHOT compares a snapshot with the instance as it is now", args[0])
			}
			changes, err := s.Diff(ctx, args[0], optional(args, 1))
			if err != nil {
				return err
			}
			if stat {
				return diffStatList(pool.CountDiff(changes)).write(e, format)
			}
			return output.List{Header: []string{"CHANGE", "PATH", "SIZE", "DETAILS"}, Rows: diffRows(changes), Values: changes}.Write(e.stdout, format)
		}),
	}
}

func diffRows(changes []pool.FileChange) [][]string {
	var rows [][]string
	for _, c := range changes {
		path := shownPath(c.Path, c.PathBase64)
		if c.From != "" {
			path = shownPath(c.From, c.FromBase64) + " -> " + path
		}
		rows = append(rows, []string{c.Change, path, diffSize(c), strings.Join(diffDetails(c), ", ")})
	}
	return rows
}

// shownPath is a path in a table; one with raw bytes is quoted already.
func shownPath(path, raw string) string {
	if raw != "" {
		return path
	}
	return pool.QuotePath(path)
}

// diffSize is the size that a file has, or had, and both where they differ.
func diffSize(c pool.FileChange) string {
	hasSize := func(f *pool.FileState) bool { return f != nil && (f.Type == "file" || f.Type == "symlink") }
	switch {
	case hasSize(c.Before) && hasSize(c.After) && c.Before.Size != c.After.Size:
		return output.IEC(c.Before.Size) + " -> " + output.IEC(c.After.Size)
	case hasSize(c.After):
		return output.IEC(c.After.Size)
	case hasSize(c.Before):
		return output.IEC(c.Before.Size)
	}
	return ""
}

// diffDetails says what differs, and of what was added or removed, what it is.
func diffDetails(c pool.FileChange) []string {
	if c.Before == nil || c.After == nil {
		for _, f := range []*pool.FileState{c.Before, c.After} {
			if f != nil && f.Type != "file" {
				return []string{f.Type}
			}
		}
		return nil
	}
	var out []string
	for _, what := range c.What {
		switch what {
		case "type":
			what += " " + c.Before.Type + " -> " + c.After.Type
		case "mode":
			what += " " + c.Before.Mode + " -> " + c.After.Mode
		case "owner":
			what += fmt.Sprintf(" %d:%d -> %d:%d", c.Before.UID, c.Before.GID, c.After.UID, c.After.GID)
		}
		out = append(out, what)
	}
	return out
}

// diffStatList shows counts.
type diffStatList pool.DiffStat

func (d diffStatList) write(e *env, format string) error {
	var rows [][]string
	for _, k := range []struct {
		name string
		n    pool.DiffCount
	}{{"added", d.Added}, {"removed", d.Removed}, {"renamed", d.Renamed}, {"modified", d.Modified}, {"changed", d.Changed}, {"total", d.Total}} {
		rows = append(rows, []string{k.name, fmt.Sprint(k.n.Paths), output.IEC(k.n.Before), output.IEC(k.n.After)})
	}
	return output.List{Header: []string{"CHANGE", "PATHS", "BYTES BEFORE", "BYTES AFTER"}, Rows: rows, Values: pool.DiffStat(d)}.Write(e.stdout, format)
}
