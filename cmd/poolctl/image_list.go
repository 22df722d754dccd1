package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

const imageColumnsHelp = `Filters: part of an alias or fingerprint, or KEY=VALUE. KEY is a property, and may be abbreviated; VALUE is then a
regular expression that has to match the whole value, unless it has ^ or $. Or KEY is a field, such as type, architecture,
public, cached or auto_update, and VALUE its value. All filters have to match. Of KEY=VALUE upper and
lower case are the same: os=alpine finds Alpine.

Columns: l shortest alias, L all aliases, f fingerprint (short), F fingerprint, p public, d description, e project,
a architecture, t type, s size (in MiB), u upload date`

func imageListCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list a pool's or a remote's images", ArgsUsage: "[REMOTE:] [FILTER...]",
		Description: example(imageColumnsHelp, "poolctl image list images: os=alpine arch=amd64 type=container", "poolctl image list -c lfs"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "lfpdatsu", Destination: &columns},
		},
		Action: e.action(0, many, func(ctx context.Context, s *pool.System, args []string) error {
			cols, err := imageColumnsOf(columns)
			if err != nil {
				return err
			}
			remote, filters := imageListArgs(args)
			for _, f := range filters {
				if strings.Contains(f, ":") && !strings.Contains(f, "=") {
					return badUsage("image list", "%q: only the first word can name a remote, and no alias or fingerprint has a colon", f)
				}
			}
			views, err := imageViews(ctx, s, remote)
			if err != nil {
				return err
			}
			return imageList(views, filters, cols).Write(e.stdout, format)
		}),
	}
}

// imageListArgs splits [REMOTE:][FILTER...]; the first word names a remote when
// it has a colon before any "="; "" stands for the default one.
func imageListArgs(args []string) (remote string, filters []string) {
	if len(args) == 0 {
		return "", nil
	}
	name, filter, ok := strings.Cut(args[0], ":")
	if !ok || strings.Contains(name, "=") {
		return "", args
	}
	if filter != "" {
		filters = append(filters, filter)
	}
	return name, append(filters, args[1:]...)
}

func imageViews(ctx context.Context, s *pool.System, remote string) ([]imageView, error) {
	var views []imageView
	if remote == "" {
		var err error
		if remote, err = s.DefaultRemote(); err != nil {
			return nil, err
		}
	}
	if remote == localRemote {
		images, err := s.Images(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, im := range images {
			views = append(views, localImageView(im))
		}
		return views, nil
	}
	images, err := s.RemoteImages(ctx, remote)
	if err != nil {
		return nil, err
	}
	for _, im := range images {
		views = append(views, remoteImageView(im))
	}
	return views, nil
}

type imageColumn struct {
	heading string
	cell    func(imageView) string
}

func imageColumnOf(letter rune) (imageColumn, bool) {
	switch letter {
	case 'l':
		return imageColumn{"ALIAS", shortestAlias}, true
	case 'L':
		return imageColumn{"ALIASES", func(v imageView) string { return strings.Join(v.aliasNames(), "\n") }}, true
	case 'f':
		return imageColumn{"FINGERPRINT", func(v imageView) string { return v.Fingerprint[:min(12, len(v.Fingerprint))] }}, true
	case 'F':
		return imageColumn{"FINGERPRINT", func(v imageView) string { return v.Fingerprint }}, true
	case 'p':
		return imageColumn{"PUBLIC", func(v imageView) string { return strings.ToLower(yesNo(v.Public)) }}, true
	case 'd':
		return imageColumn{"DESCRIPTION", func(v imageView) string { return v.Properties["description"] }}, true
	case 'e':
		return imageColumn{"PROJECT", func(imageView) string { return "default" }}, true
	case 'a':
		return imageColumn{"ARCHITECTURE", func(v imageView) string { return v.Architecture }}, true
	case 't':
		return imageColumn{"TYPE", func(v imageView) string { return strings.ToUpper(v.Type) }}, true
	case 's':
		return imageColumn{"SIZE", func(v imageView) string { return mebibytes(v.Size) }}, true
	case 'u':
		return imageColumn{"UPLOAD DATE", func(v imageView) string { return v.UploadedAt.UTC().Format("Jan 2, 2006 at 3:04pm (MST)") }}, true
	}
	return imageColumn{}, false
}

// mebibytes is how lxc writes an image's size, whatever it is: incus has the
// proper unit, MiB, but lists are to be those of lxc to the letter.
func mebibytes(n int64) string { return fmt.Sprintf("%.2fMB", float64(n)/(1<<20)) }

func shortestAlias(v imageView) string {
	if v.more > 0 {
		return fmt.Sprintf("%s (%d more)", v.shown, v.more)
	}
	return v.shown
}

func imageColumnsOf(letters string) ([]imageColumn, error) {
	var out []imageColumn
	for _, l := range strings.ReplaceAll(letters, ",", "") {
		c, ok := imageColumnOf(l)
		if !ok {
			return nil, badUsage("image list", "unknown column %q in %q", l, letters)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, badUsage("image list", "--columns names no column")
	}
	return out, nil
}

// imageList has the images that all filters match, sorted as lxc sorts them.
func imageList(views []imageView, filters []string, columns []imageColumn) output.List {
	l := output.List{}
	for _, c := range columns {
		l.Header = append(l.Header, c.heading)
	}
	shown := []imageView{}
	for _, v := range views {
		if !imageMatches(v, filters) {
			continue
		}
		shown = append(shown, v)
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = c.cell(v)
		}
		l.Rows = append(l.Rows, row)
	}
	table.SortNatural(l.Rows)
	l.Values = shown
	return l
}
