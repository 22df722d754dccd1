package table

import (
	"slices"
	"strings"
)

// SortNatural sorts rows by their cells from the left, numbers within the text
// by their value (c2 before c10), empty cells last.
func SortNatural(rows [][]string) {
	slices.SortStableFunc(rows, func(a, b []string) int {
		for i := range min(len(a), len(b)) {
			switch {
			case a[i] == b[i]:
				continue
			case a[i] == "":
				return 1
			case b[i] == "":
				return -1
			}
			if c := CompareNatural(a[i], b[i]); c != 0 {
				return c
			}
		}
		return len(a) - len(b)
	})
}

// CompareNatural compares text in which runs of digits count by their value; of
// two with the same value the one with fewer leading zeros comes first, whatever
// follows (NaturalLess of github.com/fvbommel/sortorder, which lxc and incus use).
func CompareNatural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if dx, dy := digits(x), digits(y); dx > 0 && dy > 0 {
			nx, ny := strings.TrimLeft(x[:dx], "0"), strings.TrimLeft(y[:dy], "0")
			if len(nx) != len(ny) {
				return len(nx) - len(ny)
			}
			if c := strings.Compare(nx, ny); c != 0 {
				return c
			}
			if dx != dy {
				return dx - dy
			}
			x, y = x[dx:], y[dy:]
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	return len(x) - len(y) // one is the beginning of the other
}

// digits counts the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
