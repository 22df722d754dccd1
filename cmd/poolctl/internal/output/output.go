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

// Valid says whether there is a format of that name.
func Valid(format string) bool {
	switch format {
	case Table, Compact, CSV, JSON, YAML:
		return true
	}
	return false
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
	switch format {
	case Table:
		return table.Write(w, l.Header, l.Rows)
	case Compact:
		return table.WriteCompact(w, l.Header, l.Rows)
	case CSV:
		return table.WriteCSV(w, l.Rows)
	}
	return Value(w, format, l.Values)
}

// Value writes one value. As a table it has a row for each of its fields, those
// of fields within fields named with dots.
func Value(w io.Writer, format string, v any) error {
	switch format {
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
