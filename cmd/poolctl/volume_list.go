package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/match"
	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func volumeListCommand(e *env) *cli.Command {
	var format, columns string
	var all bool
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the volumes of a pool, of all types", ArgsUsage: "POOL [FILTER...]",
		Description: example("A FILTER is KEY=VALUE of type, name, content_type, description, project or the configuration, or the beginning of a name.\n"+
			"Columns: t type, n name, d description, c content type, u used by (how many), e project, L location,\n"+
			"U usage: what it references, with what it shares.",
			"poolctl pool volume list default", "poolctl pool volume list default type=custom -c nu"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "tndcu", Destination: &columns},
			&cli.BoolFlag{Name: "all-projects", Usage: "show also custom volumes of other projects of LXD's and Incus's", Destination: &all},
		},
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			if all && columns == "tndcu" {
				columns = "e" + columns
			}
			header, cells, err := volumeColumns(columns)
			if err != nil {
				return err
			}
			volumes, err := s.Volumes(ctx, args[0], all)
			if err != nil {
				return err
			}
			volumes = slices.DeleteFunc(volumes, func(v pool.Volume) bool { return !volumeMatches(v, args[1:]) })
			l := output.List{Header: header, Values: orEmpty(volumes)}
			used := make([]int64, len(volumes))
			if strings.Contains(columns, "U") {
				if used, err = s.VolumesUsed(ctx, args[0], volumes); err != nil {
					return err
				}
			}
			for i, v := range volumes {
				l.Rows = append(l.Rows, cells(listedVolume{v, used[i]}))
			}
			return l.Write(e.stdout, format)
		}),
	}
}

// listedVolume is a volume and what it uses, -1 when that is not told.
type listedVolume struct {
	pool.Volume
	used int64
}

// usage is that as incus writes it.
func (v listedVolume) usage() string {
	if v.used < 0 {
		return ""
	}
	return output.IEC(v.used)
}

// volumeColumns are incus's columns of volumes by their letters.
func volumeColumns(letters string) (header []string, cells func(listedVolume) []string, err error) {
	known := map[rune]struct {
		name string
		cell func(listedVolume) string
	}{
		't': {"TYPE", func(v listedVolume) string { return volumeType(v.Volume) }},
		'n': {"NAME", func(v listedVolume) string { return v.Name }},
		'd': {"DESCRIPTION", func(v listedVolume) string { return v.Description }},
		'c': {"CONTENT-TYPE", func(v listedVolume) string { return v.ContentType }},
		'u': {"USED BY", func(v listedVolume) string { return strconv.Itoa(len(v.UsedBy)) }},
		'e': {"PROJECT", func(v listedVolume) string { return v.Project }},
		'L': {"LOCATION", func(v listedVolume) string { return v.Location }},
		'U': {"USAGE", listedVolume.usage},
	}
	for _, r := range letters {
		c, ok := known[r]
		if !ok && r != ',' {
			return nil, nil, badUsage("pool volume list", "unknown column %q", string(r))
		}
		if ok {
			header = append(header, c.name)
		}
	}
	return header, func(v listedVolume) []string {
		var row []string
		for _, r := range letters {
			if c, ok := known[r]; ok {
				row = append(row, c.cell(v))
			}
		}
		return row
	}, nil
}

// volumeType is the type as incus lists it: snapshots are told.
func volumeType(v pool.Volume) string {
	if strings.Contains(v.Name, "/") {
		return fmt.Sprintf("%s (snapshot)", v.Type)
	}
	return v.Type
}

// volumeMatches says whether all filters match.
func volumeMatches(v pool.Volume, filters []string) bool {
	fields := map[string]string{
		"type": v.Type, "name": v.Name, "content_type": v.ContentType, "description": v.Description, "project": v.Project, "location": v.Location,
	}
	for _, f := range filters {
		key, value, pair := strings.Cut(f, "=")
		if !pair && !match.Name(f, v.Name) {
			return false
		}
		if field, ok := fields[key]; pair && ok {
			if !match.Value(value, field) {
				return false
			}
		} else if pair && !match.Pairs(key, value, v.Config) {
			return false
		}
	}
	return true
}
