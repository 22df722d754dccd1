package main

import (
	"strings"

	"poolctl/cmd/poolctl/internal/output"
)

// column is one that a table can have.
type column[T any] struct {
	letter  rune
	heading string
	cell    func(T) string
}

// pickColumns are those of a command's that --columns names, in its order.
func pickColumns[T any](command, letters string, all []column[T]) ([]column[T], error) {
	var out []column[T]
next:
	for _, l := range strings.ReplaceAll(letters, ",", "") {
		for _, c := range all {
			if c.letter == l {
				out = append(out, c)
				continue next
			}
		}
		return nil, badUsage(command, "unknown column %q in %q", l, letters)
	}
	return out, nil
}

// columnList has a row for each item.
func columnList[T any](columns []column[T], items []T) output.List {
	var l output.List
	for _, c := range columns {
		l.Header = append(l.Header, c.heading)
	}
	for _, item := range items {
		row := make([]string, len(columns))
		for i, c := range columns {
			row[i] = c.cell(item)
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}
