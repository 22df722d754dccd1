package table

import (
	"bufio"
	"encoding/csv"
	"io"
	"strings"
	"unicode"
)

// Clean replaces what could drive a terminal, control and formatting
// characters, by U+FFFD: names and descriptions come from mirrors and guests.
// Line breaks stay.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// grid is the cells, each split into its lines, with the width of each column.
type grid struct {
	header []string
	rows   [][][]string
	widths []int
}

func layout(header []string, rows [][]string) grid {
	columns := len(header)
	if header == nil {
		for _, row := range rows {
			columns = max(columns, len(row))
		}
	}
	g := grid{header: header, widths: make([]int, columns)}
	for i, h := range header {
		g.widths[i] = widthOf(h)
	}
	for _, row := range rows {
		cells := make([][]string, columns)
		for i := range columns {
			if i >= len(row) {
				continue
			}
			cells[i] = strings.Split(Clean(row[i]), "\n")
			for _, line := range cells[i] {
				g.widths[i] = max(g.widths[i], widthOf(line))
			}
		}
		g.rows = append(g.rows, cells)
	}
	return g
}

// Write draws the table in +---+ borders, with a line between all rows, the
// headings centred and the cells to the left. A cell may have several lines. A nil
// header is no headings.
func Write(w io.Writer, header []string, rows [][]string) error {
	g := layout(header, rows)
	b := bufio.NewWriter(w)
	g.border(b)
	if header != nil {
		g.headings(b, "|", "|")
		g.border(b)
	}
	for _, row := range g.rows {
		g.line(b, row, "|", "|")
		g.border(b)
	}
	return b.Flush()
}

// WriteCompact writes the same table without borders and lines.
func WriteCompact(w io.Writer, header []string, rows [][]string) error {
	g := layout(header, rows)
	b := bufio.NewWriter(w)
	if header != nil {
		g.headings(b, " ", "")
	}
	for _, row := range g.rows {
		g.line(b, row, " ", "")
	}
	return b.Flush()
}

// WriteCSV writes the rows without headings, quoted where RFC 4180 asks for it.
func WriteCSV(w io.Writer, rows [][]string) error {
	c := csv.NewWriter(w)
	for _, row := range rows {
		clean := make([]string, len(row))
		for i, cell := range row {
			clean[i] = Clean(cell)
		}
		if err := c.Write(clean); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// The writes go to a bufio.Writer, which keeps the first error for Flush.

func (g grid) border(b *bufio.Writer) {
	for _, width := range g.widths {
		_, _ = b.WriteString("+" + strings.Repeat("-", width+2))
	}
	_, _ = b.WriteString("+\n")
}

// headings centres each heading; an odd column of space goes to its right.
func (g grid) headings(b *bufio.Writer, edge, between string) {
	cells := make([]string, len(g.header))
	for i, h := range g.header {
		gap := g.widths[i] - widthOf(h)
		cells[i] = strings.Repeat(" ", gap/2) + h + strings.Repeat(" ", gap-gap/2)
	}
	joined(b, cells, edge, between)
}

// line writes one row, which is as high as its highest cell.
func (g grid) line(b *bufio.Writer, row [][]string, edge, between string) {
	height := 1
	for _, cell := range row {
		height = max(height, len(cell))
	}
	for n := range height {
		cells := make([]string, len(row))
		for i, cell := range row {
			text := ""
			if n < len(cell) {
				text = cell[n]
			}
			cells[i] = text + strings.Repeat(" ", g.widths[i]-widthOf(text))
		}
		joined(b, cells, edge, between)
	}
}

func joined(b *bufio.Writer, cells []string, edge, between string) {
	_, _ = b.WriteString(edge + " " + strings.Join(cells, " "+between+" ") + " " + edge + "\n")
}
