package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func trashListCommand(e *env) *cli.Command {
	var format string
	var q pool.TrashQuery
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "list what was deleted and can be brought back", ArgsUsage: "[NAME...]",
		Description: example("SIZE is what nothing else has: so much is free once it is deleted for good. Sizes in csv, json and yaml are in bytes.",
			"poolctl trash list", "poolctl trash list --pool default --format json"),
		Flags: append(trashFlags(&q), formatFlag(&format, output.Table)),
		Action: e.action(0, many, func(ctx context.Context, s *pool.System, args []string) error {
			q.Names = args
			return e.listTrash(ctx, s, q, format)
		}),
	}
}

// trashFlags say what of the trash is meant.
func trashFlags(q *pool.TrashQuery) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "pool", Aliases: []string{"s"}, Usage: "only what is in `POOL`", Destination: &q.Pool},
		&cli.StringFlag{Name: "type", Usage: "only what is of that `TYPE`: container, image or volume", Destination: &q.Type},
	}
}

func (e *env) listTrash(ctx context.Context, s *pool.System, q pool.TrashQuery, format string) error {
	found, err := s.Trash(ctx, q)
	if err != nil {
		return err
	}
	return trashList(found, output.Base(format) == output.CSV).Write(e.stdout, format)
}

// trashList has a row for each thing in the trash.
func trashList(found []pool.Trashed, bytes bool) output.List {
	l := output.List{Header: []string{"NAME", "TYPE", "POOL", "SIZE", "DELETED AT", "GOES AWAY AT"}, Values: orEmpty(found)}
	for _, it := range found {
		size := "-"
		if it.Size != nil && bytes {
			size = fmt.Sprint(*it.Size)
		} else if it.Size != nil {
			size = output.IEC(int64(*it.Size)) //nolint:gosec // no pool has 8 EiB
		}
		away := "never"
		if it.Problem != "" {
			away = "DAMAGED"
		} else if !it.ExpiresAt.IsZero() {
			away = minute(it.ExpiresAt.Local())
		}
		l.Rows = append(l.Rows, []string{trashedName(it), it.Type, it.Pool, size, minute(it.DeletedAt.Local()), away})
	}
	return l
}

// trashedName is what people call something in the trash.
func trashedName(it pool.Trashed) string {
	if it.Type != "image" || it.Problem != "" {
		return it.Name
	}
	short := it.Name[:min(len(it.Name), 12)]
	if len(it.Aliases) > 0 {
		return short + " (" + strings.Join(it.Aliases, ", ") + ")"
	}
	return short
}
