package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

func imageAliasCommands(e *env) *cli.Command {
	return group("alias", nil, "", "manage the aliases of images",
		imageAliasCreateCommand(e), imageAliasDeleteCommand(e), imageAliasListCommand(e), imageAliasRenameCommand(e))
}

func imageAliasCreateCommand(e *env) *cli.Command {
	var description string
	return &cli.Command{
		Name: "create", Aliases: []string{"add"}, Usage: "give an image one more alias", ArgsUsage: "ALIAS IMAGE",
		Description: example("IMAGE is the beginning of its fingerprint, or another alias of it.", "poolctl image alias create web/base ef1a4fe020b6 --description \"for the web servers\""),
		Flags:       []cli.Flag{&cli.StringFlag{Name: "description", Usage: "`TEXT` that says what the alias is for", Destination: &description}},
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.CreateImageAlias(ctx, args[0], args[1], description)
		}),
	}
}

func imageAliasDeleteCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "delete", Aliases: []string{"rm", "remove"}, Usage: "delete aliases; their images stay", ArgsUsage: "ALIAS...",
		Description: example("", "poolctl image alias delete web/base"),
		Action: e.action(1, many, func(ctx context.Context, s *pool.System, args []string) error {
			return each(ctx, args, s.DeleteImageAlias)
		}),
	}
}

func imageAliasRenameCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "rename", Aliases: []string{"mv"}, Usage: "give an alias another name", ArgsUsage: "ALIAS NEW-NAME",
		Description: example("", "poolctl image alias rename web/base web/12"),
		Action: e.action(2, 2, func(ctx context.Context, s *pool.System, args []string) error {
			return s.RenameImageAlias(ctx, args[0], args[1])
		}),
	}
}

func imageAliasListCommand(e *env) *cli.Command {
	var format, columns string
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list the aliases of a pool's or a remote's images", ArgsUsage: "[REMOTE:] [FILTER...]",
		Description: example("Filters are parts of aliases or fingerprints; one of them has to match.\n\nColumns: a alias, f fingerprint, t type, d description",
			"poolctl image alias list", "poolctl image alias list images: alpine"),
		Flags: []cli.Flag{
			formatFlag(&format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: "aftd", Destination: &columns},
		},
		Action: e.action(0, many, func(ctx context.Context, s *pool.System, args []string) error {
			remote, filters := imageListArgs(args)
			all, err := aliasEntries(ctx, s, remote)
			if err != nil {
				return err
			}
			l, err := aliasList(all, filters, columns)
			if err != nil {
				return err
			}
			return l.Write(e.stdout, format)
		}),
	}
}

func aliasEntries(ctx context.Context, s *pool.System, remote string) ([]pool.ImageAliasEntry, error) {
	if remote == "" {
		var err error
		if remote, err = s.DefaultRemote(); err != nil {
			return nil, err
		}
	}
	if remote == localRemote {
		return s.ImageAliases(ctx)
	}
	return s.RemoteAliases(ctx, remote)
}

// aliasList has the aliases that one of the filters matches, sorted as lxc sorts
// them.
func aliasList(all []pool.ImageAliasEntry, filters []string, columns string) (output.List, error) {
	l, shown := output.List{}, []pool.ImageAliasEntry{}
	cells := map[rune]func(pool.ImageAliasEntry) string{
		'a': func(a pool.ImageAliasEntry) string { return a.Name },
		'f': func(a pool.ImageAliasEntry) string { return a.Target[:min(12, len(a.Target))] },
		't': func(a pool.ImageAliasEntry) string { return strings.ToUpper(a.Type) },
		'd': func(a pool.ImageAliasEntry) string { return a.Description },
	}
	letters := []rune(strings.ReplaceAll(columns, ",", ""))
	for _, c := range letters {
		if cells[c] == nil {
			return l, badUsage("image alias list", "unknown column %q in %q", c, columns)
		}
		l.Header = append(l.Header, map[rune]string{'a': "ALIAS", 'f': "FINGERPRINT", 't': "TYPE", 'd': "DESCRIPTION"}[c])
	}
	for _, a := range all {
		if !aliasMatches(a, filters) {
			continue
		}
		shown = append(shown, a)
		var row []string
		for _, c := range letters {
			row = append(row, cells[c](a))
		}
		l.Rows = append(l.Rows, row)
	}
	table.SortNatural(l.Rows)
	l.Values = shown
	return l, nil
}

func aliasMatches(a pool.ImageAliasEntry, filters []string) bool {
	for _, f := range filters {
		if strings.Contains(a.Name, f) || strings.Contains(a.Target, f) {
			return true
		}
	}
	return len(filters) == 0
}
