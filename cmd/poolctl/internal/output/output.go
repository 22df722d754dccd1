package output

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"poolctl/cmd/poolctl/internal/table"
)

// The formats that every command which lists or shows takes.
const (
	Table   = "table"
	Compact = "compact"
	CSV     = "csv"
	JSON    = "json"
	YAML    = "yaml"
)

// Formats names them as the help texts do.
const Formats = "csv|json|table|yaml|compact"

// FormatsNote is what the help texts say of their suffixes.
const FormatsNote = `; with ",header" or ",noheader" the rows come with headings or without, as in csv,header`

// The suffixes of formats, as incus has them: whether the rows come with headings.
// Tables have them without a suffix, and csv has none.
const (
	WithHeader    = ",header"
	WithoutHeader = ",noheader"
)

// Valid says whether there is a format of that name, with a suffix or without.
func Valid(format string) bool {
	base, suffix := split(format)
	switch base {
	case Table, Compact, CSV, JSON, YAML:
		return suffix == "" || suffix == WithHeader || suffix == WithoutHeader
	}
	return false
}

// Base is the format without its suffix.
func Base(format string) string {
	base, _ := split(format)
	return base
}

// split splits a format from its suffix, which begins with the comma.
func split(format string) (base, suffix string) {
	i := strings.IndexByte(format, ',')
	if i < 0 {
		return format, ""
	}
	return format[:i], format[i:]
}

// List is what a listing shows: as rows of text, and as the values they stand for.
type List struct {
	Header []string
	Rows   [][]string
	// Values is what JSON and YAML show; a slice, never nil.
	Values any
}

// Write writes the list.
func (l List) Write(w io.Writer, format string) error {
	base, suffix := split(format)
	header := l.Header
	if suffix == WithoutHeader {
		header = nil
	}
	switch base {
	case Table:
		return table.Write(w, header, l.Rows)
	case Compact:
		return table.WriteCompact(w, header, l.Rows)
	case CSV:
		rows := l.Rows
		if suffix == WithHeader {
			rows = append([][]string{l.Header}, rows...)
		}
		return table.WriteCSV(w, rows)
	}
	return Value(w, format, l.Values)
}

// Value writes one value. As a table it has a row for each of its fields, those
// of fields within fields named with dots.
func Value(w io.Writer, format string, v any) error {
	switch Base(format) {
	case JSON:
		return json.NewEncoder(w).Encode(v)
	case YAML:
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		enc.CompactSeqIndent()
		if err := enc.Encode(v); err != nil {
			return err
		}
		return enc.Close()
	}
	rows, err := fields(v)
	if err != nil {
		return err
	}
	return List{Header: []string{"KEY", "VALUE"}, Rows: rows}.Write(w, format)
}

// fields are the value's fields by their YAML names, with lists on lines.
func fields(v any) ([][]string, error) {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot show the value as a table: %w", err)
	}
	var rows [][]string
	flatten("", &n, &rows)
	return rows, nil
}

func flatten(prefix string, n *yaml.Node, rows *[][]string) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if prefix != "" {
				name = prefix + "." + name
			}
			flatten(name, n.Content[i+1], rows)
		}
	case yaml.SequenceNode:
		var lines []string
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				flatten(fmt.Sprintf("%s.%d", prefix, i), item, rows)
				continue
			}
			lines = append(lines, item.Value)
		}
		if len(lines) > 0 || len(n.Content) == 0 {
			*rows = append(*rows, []string{prefix, strings.Join(lines, "\n")})
		}
	default:
		value := n.Value
		if n.Tag == "!!null" {
			value = ""
		}
		*rows = append(*rows, []string{prefix, value})
	}
}
